//! Kafka's own client and Avro's own library, in Java, as the bank uses them: `tests/clients/java/`.

use crate::foreign::writes_events_and_reads_statuses;
use crate::parts::part;
use crate::support::repository;
use std::process::Command;
use std::sync::OnceLock;

#[tokio::test(flavor = "multi_thread")]
async fn a_java_client_writes_events_and_reads_statuses() {
    writes_events_and_reads_statuses("java", program).await;
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
