//! Kafka's own client and Avro's own library, in Java, as the bank uses them: `tests/clients/java/`.

use crate::foreign::writes_events_and_reads_statuses;
use crate::parts::part;
use crate::process::{More, Stage};
use crate::rig::{statuses, words};
use crate::support::{self, repository};
use rdkafka::Message;
use recado::delivery::{Channel, Reason, StatusWord};
use recado::simulator::{self, Phone};
use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

#[tokio::test(flavor = "multi_thread")]
async fn a_java_client_writes_events_and_reads_statuses() {
    writes_events_and_reads_statuses("java", program).await;
}

/// The schema, the route, the template and the event of the README's first own route, as they stand there; its phone behaves as there too.
#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_first_own_route_says_what_the_java_client_writes() {
    let readme = support::file("README.md");
    let chapter = readme.split("## Your first own route").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let block =
        |language: &str, which: usize| chapter.split(&format!("```{language}\n")).nth(which + 1).and_then(|rest| rest.split("```").next()).unwrap().to_owned();
    let event = chapter.lines().find_map(|line| line.trim().strip_prefix("echo '")?.strip_suffix("' |")).unwrap();
    let mut settings = simulator::Settings::default();
    settings.script.phones.insert("5511987654321".into(), Phone::named("undeliverable", "quick", "quick").unwrap());
    let more = More {
        files: vec![("routes/purchases.toml", block("toml", 0)), ("templates/compra.toml", block("toml", 1)), ("schemas/purchase.avsc", block("json", 0))],
        inputs: vec![("cards.purchases".into(), 3)],
        ..More::default()
    };
    let stage = Stage::with("first", 3, settings, more).await;
    let mut instance = stage.start(&stage.config("a", stage.gateway_port, ""), "engine,dispatcher,gateway");
    instance.ready().await;

    let (topic, folder) = (stage.input("cards.purchases"), stage.folder.path().to_path_buf());
    fs::write(folder.join("purchase.json"), event).unwrap();
    let writing = tokio::task::spawn_blocking(move || {
        let mut client = program();
        client.args(["events", support::bootstrap(), topic.as_str()]).arg(folder.join("schemas/purchase.avsc")).arg("customer-1");
        client.stdin(File::open(folder.join("purchase.json")).unwrap()).stderr(Stdio::inherit()).output().unwrap()
    });
    let written = writing.await.unwrap();
    assert!(written.status.success(), "the client failed: {}", String::from_utf8_lossy(&written.stdout));

    let mut told = stage.statuses();
    told.until("delivered", |read| words(read).contains(&StatusWord::Delivered));
    let calls = stage.calls();
    let texts: Vec<_> = calls.iter().map(|call| (call.channel, call.text.as_deref().unwrap())).collect();
    let sms = "Banco Exemplo: compra de R$ 123,45 em Padaria Modelo. Nao foi voce? Ligue 0800 000 0000.";
    assert_eq!(texts, [(simulator::Channel::Whatsapp, "R$ 123,45\nPadaria Modelo"), (simulator::Channel::Sms, sms)]);
    for (_, text) in texts {
        let line = format!("\"text\":{}", serde_json::to_string(text).unwrap());
        assert!(chapter.contains(&line), "the README shows something else than {line}");
    }
    let story = statuses(&told.read);
    assert!(story.iter().all(|status| status.route == "purchase" && status.event_id.as_deref() == Some("purchase-1")));
    assert_eq!(words(&told.read), [StatusWord::Requested, StatusWord::Fallback, StatusWord::Sent, StatusWord::Delivered]);
    assert_eq!((story[1].status.reason, story[3].status.channel), (Reason::Unreachable, Some(Channel::Sms)));
    assert!(told.read.iter().all(|message| message.key() != Some(b"customer-1".as_slice())), "the route says that the key is personal");
    instance.stop();
}

/// The compiled client.
fn program() -> Command {
    static COMPILED: OnceLock<(tempfile::TempDir, String)> = OnceLock::new();
    let (classes, libraries) = COMPILED.get_or_init(|| {
        let (classes, libraries) = (tempfile::tempdir().unwrap(), part("avro"));
        let source = repository().join("tests/clients/java/BankClient.java");
        let javac = Command::new("javac").args(["-Xlint:all,-processing,-path", "-Werror", "-cp", &libraries, "-d"]).arg(classes.path()).arg(source).status();
        let compiled = javac.unwrap_or_else(|error| panic!("javac: {error}. Type: docker/deps.sh test"));
        assert!(compiled.success(), "javac refuses the client: see above");
        (classes, libraries)
    });
    let mut java = Command::new("java");
    java.arg("-cp").arg(format!("{}:{libraries}", classes.path().display())).arg("BankClient");
    java
}
