use super::*;
use crate::app::Role;
use crate::config::{Config, Fault, Mode, Severity};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use std::collections::BTreeSet;

fn config(bootstrap: &str, mode: Mode) -> Config {
    let mut config = Config::default();
    config.mode = mode;
    config.instance = "test".into();
    config.kafka.bootstrap = bootstrap.into();
    config.topics.replication_factor = 1;
    config.topics.min_insync_replicas = 1;
    config
}

#[test]
fn the_topics_are_those_of_the_design() {
    let names: Vec<_> = all("recado.").into_iter().map(|topic| topic.name).collect();
    assert_eq!(names.len(), 17);
    for name in
        ["recado.dispatch.whatsapp", "recado.dispatch.voice.bulk", "recado.retry.sms", "recado.dispatch-journal", "recado.receipts", "recado.dead-letters"]
    {
        assert!(names.iter().any(|other| other == name), "{name}");
    }
    let stamped: Vec<_> = all("").into_iter().filter(|topic| !topic.append_time).map(|topic| topic.name).collect();
    assert_eq!(stamped, ["status", "state", "dead-letters"], "the broker stamps whatever a deadline is compared with");
    assert_eq!(all("").into_iter().filter(|topic| topic.cleanup == Cleanup::Compact).count(), 1);
}

#[test]
fn each_role_may_do_its_own_work_alone() {
    let text = acls(&config("kafka:9092", Mode::Production), &["pix.transactions".into()]);
    let of = |role: Role| text.lines().filter(|line| line.contains(&format!("User:recado-{role} "))).collect::<Vec<_>>().join("\n");
    assert!(!of(Role::Gateway).contains("dispatch") && !of(Role::Gateway).contains("--transactional-id"));
    assert!(!of(Role::Dispatcher).contains("recado.state") && !of(Role::Dispatcher).contains("recado.status"));
    assert!(!of(Role::Dispatcher).contains("recado.dead-letters"), "a dispatch that cannot be read is counted; its delivery goes on by its lease");
    assert!(of(Role::Engine).contains("--topic 'pix.transactions'"));
    assert!(!text.lines().any(|line| line.contains("pix.transactions") && line.contains("Write")), "nobody of ours writes the bank's topics");
}

#[tokio::test]
async fn topics_are_created_once_and_are_then_as_they_must_be() {
    let kafka = noida::kafka::spawn("127.0.0.1:0").unwrap();
    let config = config(&kafka.to_string(), Mode::Development);
    let inputs = ["pix.transactions".to_owned()];
    assert!(create(&config, &inputs).await.is_err(), "nobody says how many partitions");
    make(&config, "pix.transactions", 3, &[]).await;

    let roles = BTreeSet::from(Role::ALL);
    let missing = verify(&config, &inputs, &[], &roles).await.unwrap().1;
    assert_eq!(missing.len(), all("recado.").len());
    assert_eq!(create(&config, &inputs).await.unwrap().len(), all("recado.").len());
    assert_eq!(create(&config, &inputs).await.unwrap(), Vec::<String>::new(), "what exists is left alone");
    assert_eq!(verify(&config, &inputs, &[], &roles).await.unwrap(), (3, vec![]));
    assert_eq!(partitions(&config, &inputs).await.unwrap(), 3);
}

/// Looked at before they are there, as by a broker that learns of them later than the one that was asked to make them.
#[tokio::test]
async fn topics_that_were_just_made_are_waited_for_and_others_are_not() {
    let kafka = noida::kafka::spawn("127.0.0.1:0").unwrap();
    let mut config = config(&kafka.to_string(), Mode::Development);
    config.topics.partitions = 2;
    let names: BTreeSet<String> = all("recado.").into_iter().map(|topic| topic.name).collect();
    assert_eq!(verify_changed(&config, &[], &[], &BTreeSet::new()).await.unwrap().1.len(), names.len(), "told at once");
    let (found, made) = tokio::join!(verify_changed(&config, &[], &[], &names), create(&config, &[]));
    assert_eq!(made.unwrap().len(), names.len());
    assert_eq!(found.unwrap(), (2, vec![]));
}

#[tokio::test]
async fn a_role_is_judged_by_the_topics_that_it_touches_alone() {
    let kafka = noida::kafka::spawn("127.0.0.1:0").unwrap();
    let mut config = config(&kafka.to_string(), Mode::Development);
    config.topics.partitions = 2;
    let week = ("retention.ms", "604800000");
    make(&config, "recado.receipts", 2, &[("cleanup.policy", "delete"), week, ("message.timestamp.type", "LogAppendTime")]).await;
    make(&config, "recado.dead-letters", 2, &[("cleanup.policy", "delete"), ("retention.ms", "2592000000")]).await;
    let inputs = ["pix.transactions".to_owned()];
    let refused = async |role: Role| {
        let (_, faults) = verify(&config, &inputs, &[], &[role].into()).await.unwrap();
        faults.into_iter().filter(|fault| fault.severity == Severity::Refuse).map(|fault| fault.key).collect::<BTreeSet<_>>()
    };
    assert_eq!(refused(Role::Gateway).await, BTreeSet::new(), "it never touches what is missing");
    let dispatcher = refused(Role::Dispatcher).await;
    assert!(dispatcher.contains("recado.dispatch-journal") && dispatcher.contains("recado.retry.sms.bulk"), "{dispatcher:?}");
    assert!(!dispatcher.contains("recado.state") && !dispatcher.contains("pix.transactions"), "{dispatcher:?}");
    let engine = refused(Role::Engine).await;
    assert!(engine.contains("recado.state") && engine.contains("pix.transactions"), "{engine:?}");
    assert!(!engine.contains("recado.dispatch-journal"), "{engine:?}");
}

#[tokio::test]
async fn weak_topics_are_found_each_by_its_own_sentence() {
    let kafka = noida::kafka::spawn("127.0.0.1:0").unwrap();
    let mut config = config(&kafka.to_string(), Mode::Development);
    config.topics.partitions = 2;
    let day = ("retention.ms", "86400000");
    make(&config, "recado.state", 2, &[("cleanup.policy", "delete")]).await;
    make(&config, "recado.receipts", 2, &[("cleanup.policy", "delete"), ("retention.ms", "604800000")]).await;
    make(&config, "recado.status", 1, &[("cleanup.policy", "delete"), ("retention.ms", "604800000")]).await;
    make(&config, "recado.dead-letters", 2, &[("cleanup.policy", "delete"), day, ("retention.bytes", "1073741824")]).await;
    make(&config, "bills", 5, &[]).await;
    create(&config, &[]).await.unwrap();
    config.topics.replication_factor = 3;
    config.topics.min_insync_replicas = 2;
    config.mode = Mode::Production;

    let (_, faults) = verify(&config, &["bills".into(), "absent".into()], &[], &Role::ALL.into()).await.unwrap();
    let told = |topic: &str, word: &str| {
        let found: Vec<&Fault> = faults.iter().filter(|fault| fault.key == topic && fault.sentence.contains(word)).collect();
        assert_eq!(found.len(), 1, "{topic}: {word}: {faults:#?}");
        assert_eq!(found[0].severity, Severity::Refuse);
    };
    told("recado.state", "must be compact");
    told("recado.receipts", "LogAppendTime");
    told("recado.status", "has 1 partitions");
    told("recado.dead-letters", "retention.ms must be 2592000000");
    told("recado.dead-letters", "retention.bytes must be -1");
    told("recado.dispatch.sms", "1 copies where 3");
    told("recado.dispatch.sms", "min.insync.replicas must be at least 2");
    told("bills", "belong to nobody");
    told("absent", "does not exist");
}

#[tokio::test]
async fn a_cancel_input_with_another_partition_count_than_its_input_is_refused() {
    let kafka = noida::kafka::spawn("127.0.0.1:0").unwrap();
    let config = config(&kafka.to_string(), Mode::Development);
    let inputs = ["challenges".to_owned(), "used".to_owned()];
    let cancels = [("challenges".to_owned(), "used".to_owned())];
    make(&config, "challenges", 3, &[]).await;
    make(&config, "used", 2, &[]).await;
    create(&config, &inputs).await.unwrap();
    let (_, faults) = verify(&config, &inputs, &cancels, &Role::ALL.into()).await.unwrap();
    assert!(faults.len() == 1 && faults[0].key == "used", "{faults:#?}");
    assert!(faults[0].sentence.contains("has 2 partitions") && faults[0].sentence.contains("has 3"), "{faults:#?}");
    raise(&config, "used", 3).await;
    assert_eq!(verify(&config, &inputs, &cancels, &Role::ALL.into()).await.unwrap(), (3, vec![]));
}

#[tokio::test]
async fn our_topics_grow_with_the_largest_input_and_never_shrink() {
    let kafka = noida::kafka::spawn("127.0.0.1:0").unwrap();
    let mut config = config(&kafka.to_string(), Mode::Development);
    let inputs = ["pix".to_owned(), "bills".to_owned()];
    make(&config, "pix", 2, &[]).await;
    make(&config, "bills", 1, &[]).await;
    assert!(grow(&config, &inputs).await.unwrap_err().to_string().contains("does not exist"));
    create(&config, &inputs).await.unwrap();
    assert_eq!(grow(&config, &inputs).await.unwrap(), [], "all have as many as the largest input");

    raise(&config, "pix", 5).await;
    let (n, faults) = verify(&config, &inputs, &[], &Role::ALL.into()).await.unwrap();
    assert!(n == 2 && faults.len() == 1 && faults[0].sentence.contains("recado topics --grow"), "{faults:#?}");
    raise(&config, "recado.state", 5).await; // an earlier call was interrupted here
    let grown = grow(&config, &inputs).await.unwrap();
    assert_eq!(grown.len(), all("").len() - 1);
    assert_eq!(grown.last(), Some(&Grown { topic: "recado.receipts".into(), from: 2, to: 5 }), "last, so that the rest is there for whoever gets a new one");
    assert_eq!(verify(&config, &inputs, &[], &Role::ALL.into()).await.unwrap(), (5, vec![]));

    config.topics.partitions = 4;
    assert!(grow(&config, &inputs).await.unwrap_err().to_string().contains("the input pix has 5 partitions, topics.partitions is 4"));
    let shrunk = grow(&config, &["bills".to_owned()]).await.unwrap_err().to_string();
    assert!(shrunk.contains("no topic of Kafka ever shrinks, so write at least 5"), "{shrunk}");
    config.topics.partitions = 6;
    assert_eq!(grow(&config, &inputs).await.unwrap().len(), all("").len(), "before the input does");
    assert_eq!(verify(&config, &inputs, &[], &Role::ALL.into()).await.unwrap(), (6, vec![]));
}

async fn raise(config: &Config, name: &str, to: usize) {
    let admin: AdminClient<DefaultClientContext> = config.kafka_client().unwrap().create().unwrap();
    admin.create_partitions([&NewPartitions::new(name, to)], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
}

async fn make(config: &Config, name: &str, partitions: i32, settings: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> = config.kafka_client().unwrap().create().unwrap();
    let topic = settings.iter().fold(NewTopic::new(name, partitions, TopicReplication::Fixed(1)), |topic, (key, value)| topic.set(key, value));
    admin.create_topics([&topic], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
}
