//! One instance only: a second one names the first and ends; after a kill the next one waits for its turn.

use std::time::Duration;

use lockgate_tests::lockgate::{Config, Lockgate};

use crate::fixture::{Play, route};

const REFUSED: i32 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_instance_names_the_first_and_ends() {
    let play = Play::begin().await;
    let (source, destination) = (play.pair.source.bootstrap(), play.pair.destination.bootstrap());
    let second = Lockgate::start(Config::new(&source, &destination, vec![route()]).unwrap()).unwrap();
    let status = second.wait_for_end(Duration::from_secs(60)).await.unwrap();
    assert_eq!(status, Some(REFUSED), "{}", second.log_text());
    assert!(second.log_text().contains("lockgate-instances"), "{}", second.log_text());
    assert!(play.lockgate.is_running());

    play.lockgate.kill().await.unwrap();
    play.lockgate.restart().unwrap();
    play.lockgate.wait_ready().await.unwrap();
    play.wait_level().await;
}
