//! A running Apicurio Registry, what the bank asks of it, and the bank's own schema in it.

use crate::parts::{Beside, part};
use recado::event::registry::{Client, SchemaCache, Settings, open};
use serde_json::{Value, json};
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, MutexGuard};

/// It keeps its schemas in a folder, so that they are there again after a kill.
pub struct Apicurio {
    port: u16,
    folder: tempfile::TempDir,
    process: Option<Beside>,
    /// Several that start at once hold each other up for minutes.
    _only: MutexGuard<'static, ()>,
}

impl Apicurio {
    /// A new and empty one.
    pub async fn start() -> Self {
        static ONLY: Mutex<()> = Mutex::const_new(());
        let only = ONLY.lock().await;
        let mut registry = Self { port: crate::support::free_port(), folder: tempfile::tempdir().unwrap(), process: None, _only: only };
        registry.again().await;
        registry
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// On the same port with the same schemas.
    pub async fn again(&mut self) {
        let mut java = Command::new(part("java21"));
        java.current_dir(part("registry")).arg("-Xmx512m").arg("-Dquarkus.http.host=127.0.0.1").arg(format!("-Dquarkus.http.port={}", self.port));
        let database = self.folder.path().join("registry");
        java.arg("-Dapicurio.storage.sql.kind=h2").arg(format!("-Dapicurio.datasource.url=jdbc:h2:file:{};WRITE_DELAY=0", database.display()));
        self.process = Some(Beside::start({
            java.args(["-jar", "quarkus-run.jar"]);
            java
        }));
        self.process.as_mut().unwrap().wait_for_port(self.port, Duration::from_secs(240));
        until("the registry answers", async || reqwest::get(self.address("/subjects")).await.is_ok_and(|answer| answer.status().is_success())).await;
    }

    fn address(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/apis/ccompat/v7{path}", self.port)
    }

    /// Our client of it.
    pub async fn client(&self) -> (SchemaCache, Client) {
        let settings = Settings { url: self.address(""), credentials_file: None, ca_file: None, timeout: Duration::from_secs(10) };
        open(settings).await.unwrap()
    }

    /// The bank puts in a schema; gives its id.
    pub async fn put(&self, subject: &str, schema: &Value, references: Value) -> u32 {
        let body = json!({ "schema": schema.to_string(), "references": references });
        let answer = reqwest::Client::new().post(self.address(&format!("/subjects/{subject}/versions"))).json(&body).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        u32::try_from(answer["id"].as_u64().unwrap_or_else(|| panic!("{answer}"))).unwrap()
    }

    /// The bank demands that every later schema reads records of earlier ones.
    pub async fn demand_compatibility(&self, subject: &str) {
        let put = reqwest::Client::new().put(self.address(&format!("/config/{subject}"))).json(&json!({ "compatibility": "BACKWARD_TRANSITIVE" }));
        assert!(put.send().await.unwrap().status().is_success());
    }

    /// The bank looks up a schema.
    pub async fn schema(&self, id: u32) -> String {
        let answer: Value = reqwest::get(self.address(&format!("/schemas/ids/{id}"))).await.unwrap().json().await.unwrap();
        answer["schema"].as_str().unwrap().to_owned()
    }

    /// The bank's own form of a Pix: a field of its own stands first, so that nobody reads it right by the reference schema; and the counterparty is a schema
    /// apart, which this one refers to.
    pub async fn put_pix(&self, topic: &str) -> u32 {
        let mut pix = own_pix();
        let counterparty = std::mem::replace(&mut pix["fields"][7]["type"], "recado.reference.v1.Counterparty".into());
        assert_eq!(counterparty["name"], "Counterparty", "the field stands somewhere else now");
        let mut counterparty = counterparty;
        counterparty["namespace"] = "recado.reference.v1".into();
        let subject = format!("{topic}-counterparty");
        self.put(&subject, &counterparty, json!([])).await;
        let references = json!([{ "name": "recado.reference.v1.Counterparty", "subject": subject, "version": 1 }]);
        self.put(&format!("{topic}-value"), &pix, references).await
    }
}

/// That schema, whole.
pub fn own_pix() -> Value {
    let mut pix: Value = serde_json::from_str(&crate::support::file("schemas/pix_transaction.avsc")).unwrap();
    pix["fields"].as_array_mut().unwrap().insert(0, json!({ "name": "ledger", "type": "string", "recado.class": "public" }));
    pix
}

/// Waits for a condition, two minutes at most.
pub async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !so().await {
        assert!(Instant::now() < deadline, "not within two minutes: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
