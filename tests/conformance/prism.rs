//! Prism: a server that answers as a published OpenAPI description says, and refuses what the description does not allow.

use crate::parts::{Beside, part};
use recado::channel::Request;
use recado::delivery::{Attempt, AttemptId, MessageId, Partition, SourcePosition, Timestamp};
use recado::privacy::PhoneNumber;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// A judge under its address. It ends with this process, also when that is killed.
pub struct Prism {
    base_url: String,
    process: Beside,
}

/// Meta's description of the Cloud API.
pub fn meta() -> &'static Prism {
    static META: OnceLock<Prism> = OnceLock::new();
    META.get_or_init(|| Prism::judging("meta-cloud-api-v23.json"))
}

/// Twilio's of messages and calls.
pub fn twilio() -> &'static Prism {
    static TWILIO: OnceLock<Prism> = OnceLock::new();
    TWILIO.get_or_init(|| Prism::judging("twilio-v2010-messages-calls.json"))
}

impl Prism {
    fn judging(file: &str) -> Self {
        let folder = std::env::var_os("RECADO_CONFORMANCE");
        let folder = PathBuf::from(folder.expect("RECADO_CONFORMANCE is unset: it must name the folder of the published API descriptions"));
        let published = std::fs::read(folder.join(file));
        let mut description: Value =
            serde_json::from_slice(&published.expect("RECADO_CONFORMANCE names the folder of the published API descriptions")).unwrap();
        write_out_encodings(&mut description);
        let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
        lay_down(&copy, &description.to_string());
        let port = crate::support::free_port();
        let mut prism = Command::new(part("prism"));
        prism.args(["mock", "--errors", "-h", "127.0.0.1", "-p", &port.to_string()]).arg(&copy);
        let mut judge = Self { base_url: format!("http://127.0.0.1:{port}"), process: Beside::start(prism) };
        // It listens when it has read the description, not before.
        judge.process.wait_for_port(port, Duration::from_secs(60));
        judge
    }

    /// For the configuration of a provider.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// What it says of a request that one of our codecs made, sent as the dispatcher sends it.
    pub async fn judge(&self, request: &Request, authorization: &str) -> (u16, Vec<u8>) {
        self.judge_body(request, &request.body, authorization).await
    }

    /// The same with another body: a judge who never says no proves nothing.
    pub async fn judge_body(&self, request: &Request, body: &[u8], authorization: &str) -> (u16, Vec<u8>) {
        let client = reqwest::Client::builder().no_proxy().user_agent(concat!("recado/", env!("CARGO_PKG_VERSION"))).build().unwrap();
        let post = client.post(format!("{}{}", self.base_url, request.path_and_query));
        let post = post.header("content-type", request.content_type).header("authorization", authorization);
        let answer = post.body(body.to_vec()).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    }
}

/// Prism watches its description for as long as it runs and ends when that has changed and is not there: it stays after the test, and it is written only where it
/// differs.
fn lay_down(copy: &Path, description: &str) {
    if !std::fs::read_to_string(copy).is_ok_and(|there| there == description) {
        std::fs::write(copy, description).unwrap();
    }
}

/// Says of each list in a form that its name is repeated. That is OpenAPI's default, but Prism 5 takes a list for a string unless it is said, and then sees the
/// last of the values only.
fn write_out_encodings(description: &mut Value) {
    for operation in description["paths"].as_object_mut().unwrap().values_mut().flat_map(|path| path.as_object_mut().unwrap().values_mut()) {
        let Some(form) = operation.pointer_mut("/requestBody/content/application~1x-www-form-urlencoded") else { continue };
        let lists = form["schema"]["properties"].as_object().unwrap().iter().filter(|(_, schema)| schema["type"] == "array");
        let encodings: serde_json::Map<_, _> = lists.map(|(name, _)| (name.clone(), json!({ "style": "form", "explode": true }))).collect();
        form["encoding"] = encodings.into();
    }
}

/// An invented customer's mobile phone.
pub fn phone() -> PhoneNumber {
    PhoneNumber::parse("+5511999990001").unwrap()
}

/// Some attempt.
pub fn attempt() -> AttemptId {
    let source = SourcePosition { topic: "pix.transactions".into(), partition: Partition(7), offset: 1 };
    AttemptId { message_id: MessageId::derive(Timestamp::from_millis(1_764_900_000_000), &source, 0), attempt: Attempt { step: 2, n: 1 } }
}

/// Prism's words on a refusal, for the message of a failed assertion.
pub fn words(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}
