//! Timers: how late a wait ends that nobody confirms, as the provider of the next step sees it.

use crate::PARTITIONS;
use crate::load::Flow;
use crate::measure::Spread;
use crate::measure::metrics::scrape;
use crate::measure::send_log::until_calls;
use crate::process::{More, Stage};
use crate::shared::heading;
use recado::simulator::{self, Channel, Phone};
use std::collections::BTreeMap;

/// Under 50 in 10 s the storm guard has no say.
const WAITS: u64 = 160;
/// 33 s of the reference route, ten times faster.
const WAIT_MS: i64 = 3_300;

/// The part.
pub async fn run() {
    heading("Timers: 160 messages, 4 a second, that nobody confirms; a wait of 3.3 s, then the SMS");
    let mut settings = simulator::Settings { time_factor: 0.1, ..simulator::Settings::default() };
    settings.script.otherwise = Phone::named("sent_only", "quick", "quick").unwrap();
    let more = More { config: "[time]\nhurry = 10\n".into(), ..More::default() };
    let stage = Stage::with("timers", PARTITIONS, settings, more).await;
    let mut instance = stage.start(&stage.config("a", stage.gateway_port, ""), "engine,dispatcher,gateway");
    instance.ready().await;
    let flow = Flow::start(&stage, 4, WAITS);
    tokio::task::spawn_blocking(move || flow.wait()).await.unwrap();
    let calls = until_calls(&stage, 2 * WAITS).await;
    let mut answered: BTreeMap<&str, i64> = BTreeMap::new();
    let mut late = Vec::new();
    for call in &calls {
        let message = &call.attempt_id.as_ref().unwrap()[..32];
        match call.channel {
            Channel::Whatsapp => drop(answered.insert(message, call.answer_ms)),
            Channel::Sms => late.push(call.time_ms - answered[message] - WAIT_MS),
            Channel::Voice => {}
        }
    }
    println!("From the end of the wait to the SMS at its provider: {}", Spread::of(late));
    let metrics = scrape(&instance).await;
    for line in metrics.lines().filter(|line| line.starts_with("recado_timer_lag_seconds") && line.contains("\"wait\"")) {
        let tells = ["le=\"0.128\"", "le=\"0.512\"", "le=\"1.024\"", "_sum", "_count"];
        if tells.iter().any(|word| line.contains(word)) {
            println!("  {line}");
        }
    }
    instance.stop();
}
