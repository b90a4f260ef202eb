//! `lockgate state dump`.

use super::ask::entries;
use super::{Failure, show};
use crate::app;
use crate::config::Config;
use crate::state::Store;
use crate::words::Side;

pub(super) async fn dump(config: &Config, json: bool) -> Result<(), Failure> {
    let dump = Store::dump(&app::clusters(config)).await?;
    if json {
        return show::json(&dump);
    }
    let mut rows = Vec::new();
    for side in Side::BOTH {
        let copy = &dump[side.as_str()];
        if let Some(error) = copy["error"].as_str() {
            show::complain(&format!("the copy at the {side}: {error}"));
        }
        rows.extend(entries(&copy["records"]).iter().map(|record| {
            vec![
                side.to_string(),
                show::cell(&record["kind"]),
                show::cell(&record["name"]),
                show::cell(&record["version"]),
                record["value"].to_string(),
            ]
        }));
    }
    show::table(&["copy", "kind", "name", "version", "value"], &rows);
    Ok(())
}
