//! Makes the topics in Kafka and compares what is there with what must be.

use super::acl::touched_by;
use super::{Cleanup, Topic, UNLIMITED, all, names};
use crate::app::Role;
use crate::config::{Config, Fault};
use anyhow::{Context, ensure};
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::{ClientConfig, ClientContext};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long Kafka may take for one question.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// More than librdkafka says in that time about three brokers; unread words are lost, no more.
const WORDS_MAX: usize = 1_000;
/// Between two looks whether new topics are shown.
const SHOWN_PACE: Duration = Duration::from_millis(50);

/// What stands in a fault's place of a file: these faults are in Kafka.
const PLACE: &str = "kafka";

type Admin = AdminClient<DefaultClientContext>;

/// Keeps the sharpest thing that librdkafka said: a question that nobody answers ends with "transport failure", whether the broker is away or the password is
/// wrong.
#[derive(Default)]
struct LastWord(Mutex<&'static str>);

impl ClientContext for LastWord {
    fn error(&self, error: KafkaError, _: &str) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Authentication) => *last = "; it refuses the user or the password",
            Some(RDKafkaErrorCode::SSL) => *last = "; the TLS connection fails: look at ssl.ca.location and at the names in the broker's certificate",
            Some(RDKafkaErrorCode::Resolve | RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure) if last.is_empty() => {
                *last = "; nobody answers at kafka.bootstrap";
            }
            _ => {}
        }
    }
}

impl ConsumerContext for LastWord {}

fn client(config: &Config) -> anyhow::Result<ClientConfig> {
    let mut client = config.kafka_client().map_err(anyhow::Error::msg)?;
    client.set("client.id", format!("{}{}.admin", config.prefix, config.instance));
    Ok(client)
}

fn admin(config: &Config) -> anyhow::Result<Admin> {
    client(config)?.create().context("the Kafka client refuses its settings")
}

async fn metadata(config: &Config) -> anyhow::Result<Metadata> {
    // A consumer, since it alone lets us read what went wrong; it joins no group.
    let asking: BaseConsumer<LastWord> = client(config)?.create_with_context(LastWord::default()).context("the Kafka client refuses its settings")?;
    // The call blocks; it has a thread of its own meanwhile.
    tokio::task::spawn_blocking(move || {
        asking.fetch_metadata(None, ANSWER_MAX).map_err(|error| {
            // Each call reads one word at most, and says nothing of whether more are waiting.
            (0..WORDS_MAX).for_each(|_| drop(asking.poll(Duration::ZERO)));
            let hint = *asking.context().0.lock().unwrap_or_else(PoisonError::into_inner);
            anyhow::anyhow!("Kafka does not tell its topics{hint} ({})", error.rdkafka_error_code().map_or_else(String::new, |code| code.to_string()))
        })
    })
    .await?
}

/// The number of partitions of each topic that exists.
fn counts(metadata: &Metadata) -> BTreeMap<String, u16> {
    let known = metadata.topics().iter().filter(|topic| topic.error().is_none());
    known.map(|topic| (topic.name().to_owned(), u16::try_from(topic.partitions().len()).unwrap_or(u16::MAX))).filter(|(_, count)| *count > 0).collect()
}

/// N: what the configuration says, else what the receipts have, else the largest input's count. Errors: none of them says anything.
pub async fn partitions(config: &Config, inputs: &[String]) -> anyhow::Result<u16> {
    let metadata = metadata(config).await?;
    partition_count(config, inputs, &counts(&metadata))
}

/// How many partitions this topic has. Errors: Kafka does not answer, or there is no such topic.
pub async fn partitions_of(config: &Config, topic: &str) -> anyhow::Result<u16> {
    counts(&metadata(config).await?).get(topic).copied().with_context(|| format!("the topic {topic} does not exist"))
}

fn partition_count(config: &Config, inputs: &[String], counts: &BTreeMap<String, u16>) -> anyhow::Result<u16> {
    if config.topics.partitions > 0 {
        return Ok(config.topics.partitions);
    }
    let largest = || inputs.iter().filter_map(|input| counts.get(input)).max();
    let known = counts.get(&config.topic(names::RECEIPTS)).or_else(largest).copied();
    known.context("no input exists yet, so how many partitions our topics need is unknown: create the inputs first, or set topics.partitions")
}

/// Creates the topics of ours that are missing, and returns their names. What exists is left alone. In development missing inputs are created too: there is
/// no bank that would.
pub async fn create(config: &Config, inputs: &[String]) -> anyhow::Result<Vec<String>> {
    let (admin, metadata) = (admin(config)?, metadata(config).await?);
    let counts = counts(&metadata);
    let partitions = i32::from(partition_count(config, inputs, &counts)?);
    let replication = i32::from(config.topics.replication_factor);
    let min_insync = config.topics.min_insync_replicas.to_string();
    let ours = all(&config.prefix);
    let mut wanted: Vec<(&str, Vec<(&'static str, String)>)> = ours.iter().map(|topic| (topic.name.as_str(), topic.settings())).collect();
    if config.development() {
        wanted.extend(inputs.iter().map(|input| (input.as_str(), Vec::new())));
    }
    wanted.retain(|(name, _)| !counts.contains_key(*name));
    for (_, settings) in &mut wanted {
        settings.push(("min.insync.replicas", min_insync.clone()));
    }
    let new: Vec<_> = wanted
        .iter()
        .map(|(name, settings)| {
            let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replication));
            settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
        })
        .collect();
    if new.is_empty() {
        return Ok(Vec::new());
    }
    let options = AdminOptions::new().operation_timeout(Some(ANSWER_MAX)).request_timeout(Some(ANSWER_MAX));
    let mut made = Vec::new();
    for result in admin.create_topics(&new, &options).await.context("Kafka does not create topics")? {
        match result {
            Ok(name) => made.push(name),
            // Somebody else was faster.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => anyhow::bail!("the topic {name} could not be created: {code}"),
        }
    }
    seen(config, made.iter().map(String::as_str), 1).await?;
    Ok(made)
}

/// Waits until Kafka shows what it has just made, topics with at least so many partitions: the controller answers before the brokers know of them.
async fn seen<'n>(config: &Config, made: impl Iterator<Item = &'n str> + Clone, partitions: u16) -> anyhow::Result<()> {
    let deadline = crate::clock::monotonic() + ANSWER_MAX;
    loop {
        let counts = counts(&metadata(config).await?);
        let Some(missing) = made.clone().find(|name| counts.get(*name).is_none_or(|count| *count < partitions)) else { return Ok(()) };
        ensure!(crate::clock::monotonic() < deadline, "Kafka made {missing}, but does not show it");
        tokio::time::sleep(SHOWN_PACE).await;
    }
}

/// A topic of ours that got more partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grown {
    /// Its name.
    pub topic: String,
    /// How many it had.
    pub from: u16,
    /// How many it has now.
    pub to: u16,
}

/// Raises the partition count of every topic of ours to `topics.partitions` or, where that is 0, to the largest input's. Returns what was raised, in order;
/// nothing where all have as many.
///
/// The receipts come last: whoever is assigned a new partition of theirs takes the same one of all other topics with it, and must find it there. A call that
/// was interrupted is repeated. Errors: a topic of ours is missing, or has more partitions than it is to get (Kafka cannot take any away, and what lies in them
/// would be lost), or an input has more than `topics.partitions` says.
pub async fn grow(config: &Config, inputs: &[String]) -> anyhow::Result<Vec<Grown>> {
    let (admin, metadata) = (admin(config)?, metadata(config).await?);
    let counts = counts(&metadata);
    let largest = inputs.iter().filter_map(|input| Some((counts.get(input)?, input))).max();
    let ours: Vec<(String, u16)> = all(&config.prefix)
        .into_iter()
        .map(|topic| {
            counts.get(&topic.name).map(|count| (topic.name.clone(), *count)).context(format!("{} does not exist: type `recado topics --create`", topic.name))
        })
        .collect::<anyhow::Result<_>>()?;
    let most = ours.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let to = match config.topics.partitions {
        0 => largest.map_or(most, |(count, _)| *count).max(most),
        stated => stated,
    };
    if let Some((count, input)) = largest.filter(|(count, _)| **count > to) {
        anyhow::bail!("the input {input} has {count} partitions, topics.partitions is {to}: write {count} there, or 0");
    }
    if let Some((name, count)) = ours.iter().find(|(_, count)| *count > to) {
        anyhow::bail!("{name} has {count} partitions, topics.partitions is {to}: no topic of Kafka ever shrinks, so write at least {most} there");
    }
    let receipts = config.topic(names::RECEIPTS);
    let (last, first): (Vec<_>, Vec<_>) = ours.into_iter().filter(|(_, count)| *count < to).partition(|(name, _)| *name == receipts);
    for step in [&first, &last] {
        raise(&admin, step, to).await?;
        seen(config, step.iter().map(|(name, _)| name.as_str()), to).await?;
    }
    Ok(first.into_iter().chain(last).map(|(topic, from)| Grown { topic, from, to }).collect())
}

async fn raise(admin: &Admin, topics: &[(String, u16)], to: u16) -> anyhow::Result<()> {
    if topics.is_empty() {
        return Ok(());
    }
    let wanted: Vec<_> = topics.iter().map(|(name, _)| NewPartitions::new(name, usize::from(to))).collect();
    let options = AdminOptions::new().operation_timeout(Some(ANSWER_MAX)).request_timeout(Some(ANSWER_MAX));
    for result in admin.create_partitions(&wanted, &options).await.context("Kafka does not make partitions")? {
        result.map_err(|(name, code)| anyhow::anyhow!("the topic {name} could not get more partitions: {code}"))?;
    }
    Ok(())
}

/// Compares the topics that these roles touch, and their inputs' partition counts, with what must be: also those of an input and its cancel input (`cancels`) with
/// each other. Returns N and all faults; their `file` is `kafka`, their `key` the topic.
///
/// Topics that none of the roles touches are not looked at: with the rights of the roles alone they cannot even be seen.
/// Too few copies are refused outside development and told in it; what would break a promise anywhere (partitions, cleanup, timestamps) is always refused.
pub async fn verify(config: &Config, inputs: &[String], cancels: &[(String, String)], roles: &BTreeSet<Role>) -> anyhow::Result<(u16, Vec<Fault>)> {
    let (admin, metadata) = (admin(config)?, metadata(config).await?);
    let counts = counts(&metadata);
    let partitions = partition_count(config, inputs, &counts)?;
    let touched = touched_by(roles, &config.prefix, inputs);
    let mut faults = input_faults(inputs.iter().filter(|input| touched.contains(*input)), &counts, partitions);
    faults.extend(cancels.iter().filter(|(_, cancel)| touched.contains(cancel)).filter_map(|(input, cancel)| cancel_fault(input, cancel, &counts)));
    let ours: Vec<_> = all(&config.prefix).into_iter().filter(|topic| touched.contains(&topic.name)).collect();
    let (present, missing): (Vec<_>, Vec<_>) = ours.iter().partition(|topic| counts.contains_key(&topic.name));
    faults.extend(missing.iter().map(|topic| Fault::refuse(PLACE, &topic.name, "The topic does not exist: type `recado topics --create`.")));
    let settings = describe(&admin, &present).await?;
    for topic in present {
        if counts[&topic.name] != partitions {
            let sentence = format!("It has {} partitions, but all topics of ours need {partitions}.", counts[&topic.name]);
            faults.push(Fault::refuse(PLACE, &topic.name, sentence));
        }
        faults.extend(copies(config, topic, &metadata));
        let empty = BTreeMap::new();
        faults.extend(setting_faults(config, topic, settings.get(&topic.name).unwrap_or(&empty)));
    }
    Ok((partitions, faults))
}

/// As [`verify`] for all roles, just after `changed` were created or grew: the broker that answers may not know of them yet, although another one showed them. So faults
/// that name one of them are believed after 15 s alone.
pub async fn verify_changed(config: &Config, inputs: &[String], cancels: &[(String, String)], changed: &BTreeSet<String>) -> anyhow::Result<(u16, Vec<Fault>)> {
    let deadline = crate::clock::monotonic() + ANSWER_MAX;
    loop {
        let found = verify(config, inputs, cancels, &Role::ALL.into()).await;
        let may_be_old = match &found {
            Ok((_, faults)) => faults.iter().any(|fault| changed.contains(&fault.key)),
            Err(_) => !changed.is_empty(),
        };
        if !may_be_old || crate::clock::monotonic() >= deadline {
            return found;
        }
        tokio::time::sleep(SHOWN_PACE).await;
    }
}

fn input_faults<'i>(inputs: impl Iterator<Item = &'i String>, counts: &BTreeMap<String, u16>, partitions: u16) -> Vec<Fault> {
    let fault = |input: &String| match counts.get(input) {
        None => Some(Fault::refuse(PLACE, input, "The input does not exist: its owner has to create it.")),
        Some(count) if *count > partitions => {
            let sentence = format!("The input has {count} partitions, ours have {partitions}: those above belong to nobody; type `recado topics --grow`.");
            Some(Fault::refuse(PLACE, input, sentence))
        }
        Some(_) => None,
    };
    inputs.filter_map(fault).collect()
}

/// Equal keys lie in equal partitions only where there are equally many: a cancel that comes elsewhere finds nothing to withdraw.
fn cancel_fault(input: &str, cancel: &str, counts: &BTreeMap<String, u16>) -> Option<Fault> {
    let (requests, cancels) = (counts.get(input)?, counts.get(cancel)?);
    (requests != cancels).then(|| {
        let sentence = format!("It has {cancels} partitions, and {input}, whose events it withdraws, has {requests}: cancels would miss their requests.");
        Fault::refuse(PLACE, cancel, sentence)
    })
}

async fn describe(admin: &Admin, topics: &[&Topic]) -> anyhow::Result<BTreeMap<String, BTreeMap<String, String>>> {
    if topics.is_empty() {
        return Ok(BTreeMap::new());
    }
    let asked: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(&topic.name)).collect();
    let options = AdminOptions::new().request_timeout(Some(ANSWER_MAX));
    let mut found = BTreeMap::new();
    for result in admin.describe_configs(&asked, &options).await.context("Kafka does not tell its topics' settings")? {
        let ConfigResource { specifier, entries } = result.map_err(|code| anyhow::anyhow!("the settings of a topic could not be read: {code}"))?;
        let rdkafka::admin::OwnedResourceSpecifier::Topic(name) = specifier else { continue };
        found.insert(name, entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect());
    }
    ensure!(found.len() == topics.len(), "Kafka told the settings of {} topics, {} were asked for", found.len(), topics.len());
    Ok(found)
}

fn copies(config: &Config, topic: &Topic, metadata: &Metadata) -> Option<Fault> {
    let wanted = usize::from(config.topics.replication_factor);
    let there = metadata.topics().iter().find(|known| known.name() == topic.name)?;
    let fewest = there.partitions().iter().map(|partition| partition.replicas().len()).min()?;
    (fewest < wanted).then(|| weak(config, &topic.name, format!("It has {fewest} copies where {wanted} are asked for (topics.replication_factor).")))
}

/// A fault that development lives with.
fn weak(config: &Config, topic: &str, sentence: String) -> Fault {
    if config.development() { Fault::warn(PLACE, topic, sentence) } else { Fault::refuse(PLACE, topic, sentence) }
}

fn setting_faults(config: &Config, topic: &Topic, there: &BTreeMap<String, String>) -> Vec<Fault> {
    let value = |name: &str| there.get(name).map_or("", String::as_str);
    let number = |name: &str| value(name).parse::<i64>().ok();
    let mut faults = Vec::new();
    let mut refuse = |sentence: String| faults.push(Fault::refuse(PLACE, &topic.name, sentence));
    match topic.cleanup {
        Cleanup::Delete { retention_ms } => {
            if value("cleanup.policy") != "delete" {
                refuse("cleanup.policy must be delete: there is nothing to compact.".into());
            }
            let wanted = i64::try_from(retention_ms).unwrap_or(i64::MAX);
            // Unlimited is -1. Longer than wanted keeps sealed data longer than promised; shorter loses what a restart needs.
            if number("retention.ms") != Some(wanted) {
                refuse(format!("retention.ms must be {wanted}."));
            }
            // A cluster may have a limit for all topics: then what nobody has read yet goes before its time.
            if number("retention.bytes").is_some_and(|there| there != UNLIMITED) {
                refuse(format!("retention.bytes must be {UNLIMITED}: what was not read yet would go before its time."));
            }
        }
        Cleanup::Compact => {
            if value("cleanup.policy") != "compact" {
                refuse("cleanup.policy must be compact: it is the changelog.".into());
            }
            let (name, wanted) = COMPACT_DELETE_RETENTION;
            if number(name).is_none_or(|there| there < wanted) {
                refuse(format!("{name} must be at least {wanted}: an older store would bring deleted deliveries back."));
            }
        }
    }
    if topic.append_time && value("message.timestamp.type") != "LogAppendTime" {
        refuse("message.timestamp.type must be LogAppendTime: deadlines are compared with the broker's time.".into());
    }
    if number("min.insync.replicas").is_none_or(|there| there < i64::from(config.topics.min_insync_replicas)) {
        let sentence = format!("min.insync.replicas must be at least {}: below it one copy counts as written.", config.topics.min_insync_replicas);
        faults.push(weak(config, &topic.name, sentence));
    }
    if value("unclean.leader.election.enable") == "true" {
        faults.push(weak(config, &topic.name, "unclean.leader.election.enable must be false: acknowledged records would be lost.".into()));
    }
    faults
}

const COMPACT_DELETE_RETENTION: (&str, i64) = ("delete.retention.ms", 21_600_000);
