//! Webhooks: enters a receipt, leaves a signed POST at the gateway, repeated as each provider repeats.
//!
//! What is easily got wrong: Meta signs the bytes it sends, with everything outside ASCII escaped; Twilio signs the URL *as it was configured* and the
//! parameters, and gives up after 15 s at most.

use super::{Channel, Line, SignedUrl, Word, World};
use aws_lc_rs::hmac;
use base64::Engine as _;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How many receipts may wait for a POST to Meta's webhook; callers wait beyond it.
pub(super) const MAIL_MAX: usize = 100_000;
/// How long Meta waits for an answer. Not published; resellers ask for a median of 250 ms and call 1 s slow (channels page 2.1).
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long a TwiML answer may be; Twilio documents 64 KiB.
const TWIML_BYTES_MAX: usize = 65_536;

/// One status for Meta's webhook.
pub(super) struct Mail {
    pub(super) status: Value,
    pub(super) contact: Option<Value>,
    pub(super) attempt_id: Option<String>,
    pub(super) word: Word,
    pub(super) code: u32,
    /// Hears about the first try, whatever came of it.
    pub(super) done: oneshot::Sender<()>,
}

/// Packs statuses into POSTs.
pub(super) async fn mailer(world: Arc<World>, mut inbox: mpsc::Receiver<Mail>) {
    let meta = &world.settings.meta;
    loop {
        let first = tokio::select! { biased; () = world.shutdown.cancelled() => return, mail = inbox.recv() => mail };
        let Some(first) = first else { return };
        let mut batch = vec![first];
        if meta.batch_updates_max > 1 && !world.pause(meta.batch_pause).await {
            return;
        }
        while batch.len() < meta.batch_updates_max.clamp(1, 1_000) {
            let Ok(mail) = inbox.try_recv() else { break };
            batch.push(mail);
        }
        if !meta.webhook.is_empty() {
            world.tasks.spawn(post_meta(world.clone(), batch));
        }
    }
}

async fn post_meta(world: Arc<World>, mut batch: Vec<Mail>) {
    let meta = &world.settings.meta;
    let statuses: Vec<Value> = batch.iter_mut().map(|mail| mail.status.take()).collect();
    let contacts: Vec<Value> = batch.iter_mut().filter_map(|mail| mail.contact.take()).collect();
    let mut value = json!({"messaging_product": "whatsapp",
        "metadata": {"display_phone_number": meta.display_phone_number, "phone_number_id": meta.phone_number_id}, "statuses": statuses});
    // `contacts` beside `statuses` came in 2026, and not everywhere: both forms are met.
    if batch.first().is_some_and(|mail| mail.word != Word::Sent) && !contacts.is_empty() {
        value["contacts"] = contacts.into();
    }
    let entry = json!({"id": meta.business_account_id, "changes": [{"field": "messages", "value": value}]});
    let body = escaped(&json!({"object": "whatsapp_business_account", "entry": [entry]}).to_string());
    let key = hmac::Key::new(hmac::HMAC_SHA256, meta.app_secret.as_bytes());
    let signature = format!("sha256={}", hex::encode(hmac::sign(&key, body.as_bytes()).as_ref()));
    let mut heard: Vec<_> = batch.into_iter().map(|mail| (mail.attempt_id, mail.word.text(), mail.code, Some(mail.done))).collect();
    let first = world.elapsed();
    let mut pause = meta.repeat_first;
    loop {
        let Some(turn) = world.turn().await else { return };
        let request = world.client.post(&meta.webhook).timeout(ANSWER_MAX).header("content-type", "application/json");
        let request = request.header("user-agent", "facebookexternalua").header("x-hub-signature-256", &signature).body(body.clone());
        let answered = tokio::select! { () = world.shutdown.cancelled() => return, answer = request.send() => answer };
        let acknowledged = answered.is_ok_and(|answer| answer.status() == 200);
        drop(turn);
        for (attempt_id, word, code, done) in &mut heard {
            if acknowledged {
                let line = acknowledged_line(Channel::Whatsapp, attempt_id.as_deref(), word, *code);
                world.append(line, None).await;
            }
            done.take().map(|it| it.send(()));
        }
        if acknowledged {
            return;
        }
        if world.elapsed().saturating_sub(first) + pause > meta.repeat_until {
            return lost(&world, Channel::Whatsapp, heard.iter().map(|it| (it.0.as_deref(), it.1))).await;
        }
        if !world.pause(pause).await {
            return;
        }
        pause = (pause * 2).min(meta.repeat_pause_max);
    }
}

fn acknowledged_line(channel: Channel, attempt_id: Option<&str>, receipt: &str, code: u32) -> Line {
    Line::Webhook { time_ms: crate::clock::wall().millis(), channel, attempt_id: attempt_id.map(str::to_owned), receipt: receipt.to_owned(), code }
}

async fn lost(world: &World, channel: Channel, receipts: impl Iterator<Item = (Option<&str>, &str)>) {
    for (attempt_id, receipt) in receipts {
        let (attempt_id, receipt) = (attempt_id.map(str::to_owned), receipt.to_owned());
        world.append(Line::Lost { time_ms: crate::clock::wall().millis(), channel, attempt_id, receipt }, None).await;
    }
}

/// Everything outside ASCII as `\uXXXX` in lower-case hex, as Meta writes it.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter.is_ascii() {
            out.push(letter);
            continue;
        }
        for unit in letter.encode_utf16(&mut [0; 2]) {
            write!(out, "\\u{unit:04x}").expect("a String takes everything");
        }
    }
    out
}

pub(super) async fn handshake(world: &World, verify_token: &str) -> anyhow::Result<()> {
    let challenge = world.id("challenge");
    let query = [("hub.mode", "subscribe"), ("hub.verify_token", verify_token), ("hub.challenge", &challenge)];
    let answer = world.client.get(&world.settings.meta.webhook).timeout(ANSWER_MAX).query(&query).send().await?;
    let status = answer.status();
    let echoed = answer.text().await?;
    anyhow::ensure!(status == 200 && echoed == challenge, "the gateway answered {status} and did not echo the challenge");
    Ok(())
}

/// How Twilio treats an unanswered callback: the fragment of its URL (Twilio's page on connection overrides).
#[derive(Debug, PartialEq, Eq)]
struct Overrides {
    connect: Duration,
    read: Duration,
    total: Duration,
    repeats: u32,
    on_connect: bool,
    on_read: bool,
    on_4xx: bool,
    on_5xx: bool,
}

impl Overrides {
    fn of(url: &str) -> Self {
        let mut it = Self {
            connect: Duration::from_millis(5_000),
            read: Duration::from_millis(15_000),
            total: Duration::from_millis(15_000),
            repeats: 1,
            on_connect: true,
            on_read: false,
            on_4xx: false,
            on_5xx: false,
        };
        let fragment = url.split_once('#').map_or("", |(_, fragment)| fragment);
        for (key, value) in form_urlencoded::parse(fragment.as_bytes()) {
            let number = value.parse::<u64>().ok();
            let millis = |low, high| number.map(|it| Duration::from_millis(it.clamp(low, high)));
            match &*key {
                "ct" => it.connect = millis(100, 10_000).unwrap_or(it.connect),
                "rt" => it.read = millis(100, 15_000).unwrap_or(it.read),
                "tt" => it.total = millis(100, 15_000).unwrap_or(it.total),
                "rc" => it.repeats = number.map_or(it.repeats, |it| u32::try_from(it.min(5)).unwrap_or(5)),
                "rp" => {
                    let named = |word| value.split(',').any(|it| it == word || it == "all");
                    (it.on_connect, it.on_read, it.on_4xx, it.on_5xx) = (named("ct"), named("rt"), named("4xx"), named("5xx"));
                }
                _ => {}
            }
        }
        it
    }
}

/// One callback of Twilio's.
pub(super) struct Callback<'a> {
    /// As Recado configured it, fragment and all.
    pub(super) url: &'a str,
    pub(super) parameters: Vec<(&'static str, String)>,
    pub(super) channel: Channel,
    pub(super) attempt_id: Option<&'a str>,
    /// What the send log calls it.
    pub(super) receipt: &'a str,
    pub(super) code: u32,
}

/// Posts one callback, repeats it as its URL asks, and writes what became of it to the send log. Returns the body of a 2xx answer.
pub(super) async fn twilio(world: &World, callback: Callback<'_>) -> Option<Vec<u8>> {
    let overrides = Overrides::of(callback.url);
    let twilio = &world.settings.twilio;
    let signature = sign_twilio(&twilio.auth_token, twilio.signed_url, callback.url, &callback.parameters);
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&callback.parameters).finish();
    let mut turn = world.turn().await?;
    let first = world.elapsed();
    for repeat in 0..=overrides.repeats {
        let left = overrides.total.saturating_sub(world.elapsed().saturating_sub(first));
        let request = world.client.post(callback.url).timeout(left.min(overrides.connect + overrides.read));
        let request = request.header("content-type", "application/x-www-form-urlencoded; charset=UTF-8").header("user-agent", "TwilioProxy/1.1");
        let request = request.header("x-twilio-signature", &signature).header("i-twilio-idempotency-token", world.id("callback")).body(body.clone());
        let again = match tokio::select! { () = world.shutdown.cancelled() => return None, answer = request.send() => answer } {
            Ok(answer) if answer.status().is_success() => {
                let line = acknowledged_line(callback.channel, callback.attempt_id, callback.receipt, callback.code);
                world.append(line, None).await;
                return answer.bytes().await.ok().filter(|it| it.len() <= TWIML_BYTES_MAX).map(Vec::from);
            }
            Ok(answer) if answer.status().is_client_error() => overrides.on_4xx,
            Ok(_) => overrides.on_5xx,
            Err(error) if error.is_connect() => overrides.on_connect,
            Err(_) => overrides.on_read,
        };
        // Twilio documents that it backs off, not how: 250 ms, doubling, is a guess that leaves room for five within 15 s.
        let pause = Duration::from_millis(250) * 2_u32.pow(repeat);
        drop(turn);
        if !again || world.elapsed().saturating_sub(first) + pause >= overrides.total || !world.pause(pause).await {
            break;
        }
        turn = world.turn().await?;
    }
    lost(world, callback.channel, std::iter::once((callback.attempt_id, callback.receipt))).await;
    None
}

/// base64 of HMAC-SHA1 over the URL and, in sorted order, each name with each of its distinct values.
fn sign_twilio(auth_token: &str, signed_url: SignedUrl, url: &str, parameters: &[(&'static str, String)]) -> String {
    let without_fragment = url.split('#').next().unwrap_or(url);
    let mut signed = match signed_url {
        SignedUrl::WithFragment => url.to_owned(),
        SignedUrl::WithoutFragment => without_fragment.to_owned(),
        SignedUrl::WithoutPort => url::Url::parse(without_fragment).map_or(without_fragment.to_owned(), |mut it| {
            let _ = it.set_port(None); // fails only for URLs without a host
            it.into()
        }),
    };
    let sorted: BTreeSet<_> = parameters.iter().collect();
    sorted.iter().for_each(|(name, value)| signed.extend([name, value.as_str()]));
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, auth_token.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(hmac::sign(&key, signed.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_outside_ascii_are_escaped_in_lower_case_and_beyond_the_first_plane_in_pairs() {
        assert_eq!(escaped("{\"a\":\"äÃ€ \u{1f600}\"}"), "{\"a\":\"\\u00e4\\u00c3\\u20ac \\ud83d\\ude00\"}");
    }

    #[test]
    fn twilios_own_example_has_twilios_own_signature() {
        // From Twilio's page on the security of webhooks.
        let caller = || "+14158675309".to_owned();
        let parameters =
            [("To", "+18005551212".to_owned()), ("CallSid", "CA1234567890ABCDE".into()), ("Caller", caller()), ("Digits", "1234".into()), ("From", caller())];
        let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
        let fragment = format!("{url}#rc=5");
        let signed = |signed_url, url: &str| sign_twilio("12345", signed_url, url, &parameters);
        assert_eq!(signed(SignedUrl::WithoutFragment, &fragment), "RSOYDt4T1cUTdK1PDd93/VVr8B8=");
        assert_ne!(signed(SignedUrl::WithFragment, &fragment), "RSOYDt4T1cUTdK1PDd93/VVr8B8=");
        assert_eq!(signed(SignedUrl::WithoutPort, &url.replace(".com/", ".com:8443/")), "RSOYDt4T1cUTdK1PDd93/VVr8B8=");
    }

    #[test]
    fn the_fragment_says_how_a_callback_is_repeated_within_twilios_bounds() {
        let ours = Overrides::of("https://h/x?a=1#rc=5&rp=all&ct=2000&rt=5000&tt=15000");
        assert_eq!((ours.repeats, ours.connect, ours.read, ours.total), (5, Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(15)));
        assert!(ours.on_connect && ours.on_read && ours.on_4xx && ours.on_5xx);
        let silent = Overrides::of("https://h/x");
        assert_eq!((silent.repeats, silent.on_connect, silent.on_5xx), (1, true, false));
        assert_eq!(Overrides::of("https://h/x#rc=50&tt=99000&rp=5xx,rt").total, Duration::from_secs(15));
        assert_eq!(Overrides::of("https://h/x#rc=50").repeats, 5);
    }
}
