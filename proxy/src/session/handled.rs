//! Requests that are decoded: taken whole, handed to their API's handler, answered with what it says.

use bytes::Bytes;

use super::OwnBroker;
use super::ended::{Ended, Step};
use super::inbound::Head;
use super::requests::{ClientGone, Requests};
use super::run::Handler;
use crate::api::{self, Exchange, Outcome};

/// Bodies up to this size are copied, so that a handler that waits does not hold a read buffer.
const COPY_BYTES_MAX: usize = 16 << 10;

impl Requests {
    pub(super) async fn handle(&mut self, head: Head) -> Step<()> {
        self.whole(head).await?;
        self.flush().await?;
        self.revive().await?;
        let client_id = self.inbound.client_id().map(str::to_owned);
        let body = if head.length <= COPY_BYTES_MAX {
            let body = Bytes::copy_from_slice(self.inbound.body(head));
            self.inbound.consume(head);
            body
        } else {
            self.inbound.take(head).freeze().slice(head.body..)
        };
        let waiting = !self.inbound.pending().is_empty();
        self.queued.send_replace(waiting);
        match Box::pin(self.ask_handler(head, client_id, body)).await? {
            Outcome::Answer(body) => self.answer(head, &body).await,
            Outcome::Close(reason) => Err(Ended::Unserved(reason)),
        }
    }

    async fn ask_handler(
        &mut self,
        head: Head,
        client_id: Option<String>,
        body: Bytes,
    ) -> Step<Outcome> {
        let Some(client) = self.client.clone() else {
            return Err(Ended::Client);
        };
        let (path, forwards) = (self.path.clone(), self.forwards.clone());
        let queued = self.queued.subscribe();
        let own = self.own.is_alive().then(|| OwnBroker {
            side: self.side,
            node: self.own.node,
            calls: self.calls_in.clone(),
        });
        match path.handler {
            Handler::Table => {}
            #[cfg(test)]
            Handler::Test => {
                let work = super::tests::handle(head.api_key, own, queued);
                return self.while_reading(ClientGone::Stop, work).await;
            }
        }
        let exchange = Exchange {
            config: &path.config,
            clusters: &path.clusters,
            routes: &path.routes,
            snapshot: path.routes.load_full(),
            clients: &path.clients,
            client: &client,
            connection: self.connection.id,
            side: self.side,
            own,
            forwards: &forwards,
            queued,
        };
        let work = api::handle(
            &exchange,
            head.api_key,
            head.version,
            client_id.as_deref(),
            body,
        );
        self.while_reading(ClientGone::Stop, work).await
    }
}
