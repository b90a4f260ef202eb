//! Listeners: one per virtual node, followed as nodes appear.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::HANDLED;
use super::client::Client;
use super::world::World;
use crate::listener::Listeners;
use crate::words::{Side, UpstreamNode};

async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

async fn serves(port: u16) {
    for _ in 0..200 {
        if let Ok(socket) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
            let mut client = Client { socket };
            client.send(HANDLED, 0, 3, b"").await;
            assert_eq!(client.answer(HANDLED, 0).await.correlation_id, 3);
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("nobody listens on {port}");
}

#[tokio::test]
async fn nodes_get_their_ports_and_sessions_drain() {
    let world = World::start().await;
    let listeners = Listeners::start(world.path.clone()).await.unwrap();
    serves(listeners.bootstrap().port()).await;
    let port = free_port().await;
    world.routes.update(|next| {
        let upstream = UpstreamNode(2);
        let mut nodes = (*next.nodes).clone();
        let mut node = nodes.of(Side::Source, UpstreamNode(1)).unwrap().clone();
        (node.id, node.upstream) = (upstream.to_virtual(Side::Source).unwrap(), upstream);
        node.port = port;
        nodes.0.insert(node.id, node);
        next.nodes = Arc::new(nodes);
    });
    serves(port).await;
    let mut idle = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .map(|socket| Client { socket })
        .unwrap();
    idle.send(HANDLED, 0, 1, b"").await;
    idle.answer(HANDLED, 0).await;
    assert!(listeners.connections() >= 1);
    let closed = tokio::join!(listeners.drain(Duration::from_secs(5)), async {
        idle.is_closed().await;
        drop(idle);
    });
    assert!(closed.0, "{} sessions are left", listeners.connections());
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let world = World::start().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    world.routes.update(|next| {
        let mut nodes = (*next.nodes).clone();
        for node in nodes.0.values_mut() {
            node.port = port;
        }
        next.nodes = Arc::new(nodes);
    });
    let error = Listeners::start(world.path.clone())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&port.to_string()) && error.contains("virtual node 1"),
        "{error}"
    );
}
