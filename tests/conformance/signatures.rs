//! Signatures of Twilio's webhooks, judged by Twilio's own library: what it signs our gateway takes, and the two agree on what is refused.

use crate::parts::part;
use crate::prism::attempt;
use crate::support::repository;
use axum::body::Bytes;
use axum::http::{HeaderMap, Uri};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use recado::channel::signature::{Twilio, TwilioHeaders};
use recado::channel::sms::{self, From};
use recado::channel::twilio::{Callbacks, Form};
use recado::privacy::{PhoneNumber, Secret};
use recado::simulator::{Providers, Settings, SignedUrl};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

/// One webhook as Twilio might send it.
#[derive(Clone, Debug)]
struct Webhook {
    token: String,
    sha256: bool,
    url: String,
    form: Vec<(String, String)>,
}

impl Webhook {
    fn asked(&self, signature: Option<&str>) -> Value {
        let algorithm = if self.sha256 { "HMAC_SHA256" } else { "HMAC_SHA1" };
        json!({ "token": self.token, "algorithm": algorithm, "url": self.url, "form": self.form, "signature": signature })
    }

    /// What our gateway says.
    fn verifies(&self, signature: &str) -> bool {
        let secrets = [Secret::new(self.token.clone())];
        let twilio = if self.sha256 { Twilio::new(&[], &secrets) } else { Twilio::new(&secrets, &[]) };
        let headers = TwilioHeaders { signature, settings: self.sha256.then_some("key=webhooks_sharedkey_1,algorithm=HMAC_SHA256") };
        let (url, fragment) = self.url.find('#').map_or((&*self.url, ""), |at| self.url.split_at(at));
        let form: Vec<_> = self.form.iter().map(|(name, value)| (Zeroizing::new(name.clone()), Zeroizing::new(value.clone()))).collect();
        twilio.verify(headers, url, fragment, &form)
    }
}

/// No user and password in the URL: there the library cuts the host at the wrong colon.
fn webhook() -> impl Strategy<Value = Webhook> {
    let port = prop_oneof![Just(String::new()), Just(":443".to_owned()), Just(":80".to_owned()), Just(":8443".to_owned())];
    let query = prop_oneof![Just(String::new()), "\\?a=[0-9a-f]{32}-[1-3]-1(&c=[A-Za-z0-9_-]{1,40})?"];
    let fragment = prop_oneof![3 => Just(String::new()), 1 => Just("#rc=5&rp=all&ct=2000&rt=5000&tt=15000".to_owned())];
    let url = ("https?", "[a-z]{1,9}\\.example", port, "(/[a-z0-9]{1,8}){0,4}/?", query, fragment)
        .prop_map(|(scheme, host, port, path, query, fragment)| format!("{scheme}://{host}{port}{path}{query}{fragment}"));
    // Few names, so that one comes twice, now and then with the same value.
    let form = proptest::collection::vec(("(From|To|Body|Digits|[A-Z][A-Za-z]{1,6})", "(1|\\PC{0,20})"), 0..12);
    ("[0-9a-f]{32}", any::<bool>(), url, form).prop_map(|(token, sha256, url, form)| Webhook { token, sha256, url, form })
}

fn webhooks(count: usize) -> Vec<Webhook> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| webhook().new_tree(&mut runner).unwrap().current()).collect()
}

/// All questions to Twilio's library at once.
fn judged(questions: &[Value]) -> Vec<Value> {
    let mut python = Command::new("python3");
    python.arg(repository().join("tests/conformance/twilio_judge.py")).env("PYTHONPATH", part("twilio")).env("PYTHONIOENCODING", "utf-8");
    let mut child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 starts");
    let text: String = questions.iter().map(|question| format!("{question}\n")).collect();
    let mut pipe = child.stdin.take().unwrap();
    let writing = std::thread::spawn(move || pipe.write_all(text.as_bytes()));
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success(), "the judge failed: see above");
    writing.join().unwrap().unwrap();
    let answers: Vec<Value> = String::from_utf8(ended.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), questions.len());
    answers
}

#[test]
fn what_twilios_library_signs_the_gateway_takes() {
    let webhooks = webhooks(400);
    let answers = judged(&webhooks.iter().map(|webhook| webhook.asked(None)).collect::<Vec<_>>());
    for (webhook, answer) in webhooks.iter().zip(&answers) {
        assert!(webhook.verifies(answer["computed"].as_str().unwrap()), "{webhook:?}");
    }
    for sha256 in [false, true] {
        assert!(webhooks.iter().filter(|webhook| webhook.sha256 == sha256).count() > 100, "both algorithms are met");
    }
}

#[test]
fn the_gateway_and_twilios_library_agree_on_what_is_forged() {
    let webhooks = webhooks(400);
    let signed = judged(&webhooks.iter().map(|webhook| webhook.asked(None)).collect::<Vec<_>>());
    // What was signed is then changed in one place, or given another key or algorithm; some of it stays as it was.
    let forged: Vec<(Webhook, String)> = webhooks
        .into_iter()
        .zip(&signed)
        .enumerate()
        .map(|(count, (mut webhook, answer))| {
            let mut signature = answer["computed"].as_str().unwrap().to_owned();
            match count % 8 {
                0 => webhook.token.push('0'),
                1 => webhook.sha256 = !webhook.sha256,
                2 => webhook.url = webhook.url.replacen(".example", ".example2", 1),
                3 => webhook.form.push(("To".into(), "+5511999990002".into())),
                4 => drop(webhook.form.pop()),
                5 => signature = signature.to_lowercase(),
                6 => webhook.form.extend(webhook.form.first().cloned()),
                _ => {}
            }
            (webhook, signature)
        })
        .collect();
    let answers = judged(&forged.iter().map(|(webhook, signature)| webhook.asked(Some(signature))).collect::<Vec<_>>());
    let mut taken = 0;
    for ((webhook, signature), answer) in forged.iter().zip(&answers) {
        let valid = answer["valid"].as_bool().unwrap();
        assert_eq!(webhook.verifies(signature), valid, "{webhook:?} {signature}");
        taken += usize::from(valid);
    }
    assert!((50..350).contains(&taken), "{taken} of 400 are valid: both answers are met");
}

/// The simulator signs its webhooks from Twilio's documents: tests of the gateway that rest on it rest on this.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_simulator_signs_twilios_library_takes() {
    for signed_url in [SignedUrl::WithoutFragment, SignedUrl::WithFragment, SignedUrl::WithoutPort] {
        let mut settings = Settings { time_factor: 0.01, ..Settings::default() };
        settings.twilio.signed_url = signed_url;

        let (token, account, login) = (settings.twilio.auth_token.clone(), settings.twilio.account_sid.clone(), settings.twilio.clone());
        let providers = Providers::start(settings).await.unwrap();
        let (sender, mut hits) = mpsc::unbounded_channel();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let public_base_url = format!("http://{}", listener.local_addr().unwrap());
        let handler = async move |uri: Uri, headers: HeaderMap, body: Bytes| sender.send((uri.to_string(), headers, body)).unwrap();
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(handler)).await });

        let callbacks = Callbacks { public_base_url: public_base_url.clone(), account: "main".into() };
        let from = sms::Sender { account_sid: account, from: From::Number("+551140040002".into()), callbacks };
        let to = PhoneNumber::parse("+5511999990001").unwrap();
        let request = sms::request(&Secret::new("Banco Exemplo".into()), &to, &attempt(), Duration::from_secs(30), &from).unwrap();
        let post = reqwest::Client::builder().no_proxy().build().unwrap().post(format!("{}{}", providers.base_url(), request.path_and_query));
        let post = post.basic_auth(&login.api_key, Some(&login.api_secret)).header("content-type", request.content_type);
        assert_eq!(post.body(request.body.to_vec()).send().await.unwrap().status(), 201);

        let (path, headers, body) = tokio::time::timeout(Duration::from_secs(20), hits.recv()).await.expect("a webhook comes").unwrap();
        let form: Vec<(String, String)> = Form::read(&body).unwrap().fields().iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let fragment = if signed_url == SignedUrl::WithFragment { recado::channel::twilio::FRAGMENT } else { "" };
        let webhook = Webhook { token, sha256: false, url: format!("{public_base_url}{path}{fragment}"), form };
        let signature = headers["x-twilio-signature"].to_str().unwrap();
        assert_eq!(judged(&[webhook.asked(Some(signature))])[0]["valid"], true, "{signed_url:?}");
        assert!(webhook.verifies(signature), "{signed_url:?}");
        providers.stop().await;
    }
}
