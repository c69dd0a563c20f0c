//! Routes whose waits a part chooses, and an engine that nothing holds up.

use crate::support;

/// Many attempts may be open, and many waits run out at once: both are wanted here.
pub const OPEN: &str = "attempts_open_max = 100000000\nstorm_guard = false\n";

/// The route file of Pix with these waits, in seconds, for their WhatsApp; then an SMS with ten minutes.
pub fn pix_route(received_secs: u32, sent_secs: u32) -> (&'static str, String) {
    let text = support::file("config/routes/pix.toml");
    let (input, _) = text.split_once("# The first route whose conditions").unwrap();
    let step = |channel: &str, template: &str, wait_secs: u32| {
        format!("[[route.steps]]\nchannel = \"{channel}\"\ntemplate = \"{template}\"\nlease = \"2m\"\nwait = \"{wait_secs}s\"\n")
    };
    let route = |name: &str, direction: &str, template: &str, wait_secs: u32| {
        let when = format!("[[route]]\nname = \"{name}\"\nwhen = [{{ field = \"direction\", equals = \"{direction}\" }}]\nexpiry = \"1h\"\nlinger = \"1m\"\n");
        [when, step("whatsapp", template, wait_secs), step("sms", template, 600)].concat()
    };
    let routes = [route("pix.received", "RECEIVED", "pix_recebido", received_secs), route("pix.sent", "SENT", "pix_enviado", sent_secs)];
    ("routes/pix.toml", format!("{input}{}", routes.concat()))
}

/// The route file of bills with one step that waits longer than the bill lives: so a bill's own time says when its timer is due, and it has no fallback.
pub fn bill_route() -> (&'static str, String) {
    let text = support::file("config/routes/bills.toml");
    let (input, _) = text.split_once("[[route]]").unwrap();
    let route = "[[route]]\nname = \"bill\"\nexpiry = \"2h\"\n[[route.steps]]\nchannel = \"whatsapp\"\ntemplate = \"fatura\"\nlease = \"2m\"\nwait = \"24h\"\n";
    ("routes/bills.toml", format!("{input}{route}"))
}

/// How long after a bill's own time its timer is due: its life, and the 3 s more in which the delivery machine still takes a receipt.
pub const BILL_DUE_MS: i64 = 7_203_000;
