//! A client that knows no broker any more finds Kafka again. How it comes to that is librdkafka's; here its brokers are gone from the start.

use crate::support;
use rdkafka::consumer::{BaseConsumer, Consumer};
use recado::lifeline::Lifeline;
use std::time::Duration;

#[tokio::test]
async fn a_client_without_a_broker_is_given_those_that_answer_others_and_a_well_one_is_left_alone() {
    let topic = format!("{}any", support::prefix("lifeline"));
    support::create(&[(&topic, 1, &[])]).await;
    let asks = |client: &BaseConsumer, within| client.fetch_metadata(Some(&topic), within);
    let lost: BaseConsumer = support::client().set("bootstrap.servers", format!("127.0.0.1:{}", support::free_port())).create().unwrap();
    assert!(asks(&lost, Duration::from_millis(200)).is_err(), "nobody listens there");
    let well: BaseConsumer = support::client().create().unwrap();
    assert!(asks(&well, Duration::from_secs(30)).is_ok());
    // The looks' seconds are told, not waited for: of a well client they must not all fall into one moment in which it connects anew, so it answers before each.
    let looks = |client: &BaseConsumer, before_each: &dyn Fn()| {
        let mut lifeline = Lifeline::new(&support::client(), &topic);
        [0, 5, 10, 15, 20, 25].map(|second| {
            before_each();
            lifeline.look(client.client(), Duration::from_secs(second))
        })
    };
    assert_eq!(looks(&well, &|| assert!(asks(&well, Duration::from_secs(30)).is_ok())), [false; 6]);
    assert_eq!(looks(&lost, &|| ()), [false, false, false, false, true, false], "for 20 s it had nobody to ask, while Kafka answers others");
    assert!(asks(&lost, Duration::from_secs(30)).is_ok());
}
