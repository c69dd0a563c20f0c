//! The send log: what the providers took, and which webhooks were acknowledged; one JSON line each. It alone decides what "sent" means.
//!
//! What is easily got wrong: a line of a call is on the disk *before* its answer leaves, so a missing line means that nothing was answered. It holds
//! full phone numbers (and, when asked, texts): it is evidence of a test, never to be kept of real customers.

use super::Provider;
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::path::Path;
use tokio::sync::{mpsc, oneshot};

/// Which of our three channels a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// Through Meta.
    Whatsapp,
    /// Through Twilio.
    Sms,
    /// Through Twilio.
    Voice,
}

impl Channel {
    pub(super) const fn provider(self) -> Provider {
        match self {
            Self::Whatsapp => Provider::Meta,
            Self::Sms | Self::Voice => Provider::Twilio,
        }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Line {
    /// A call was taken or refused.
    Call(CallLine),
    /// A call did not pass the provider's checks: who sent it has a bug, or wrong credentials.
    Refused {
        /// Milliseconds since 1970.
        time_ms: i64,
        /// Where.
        channel: Channel,
        /// The correlation data, where it could be read.
        attempt_id: Option<String>,
        /// HTTP status of the answer.
        status: u16,
        /// The provider's number.
        code: u32,
        /// The provider's sentence: names of fields, never their values.
        message: String,
    },
    /// A webhook got its 2xx: the gateway has acknowledged this receipt.
    Webhook {
        /// When the 2xx came, milliseconds since 1970.
        time_ms: i64,
        /// Where.
        channel: Channel,
        /// The correlation data it carried.
        attempt_id: Option<String>,
        /// `sent`, `delivered`, `read` or `failed`; for a call the provider's word, and `keypress`.
        receipt: String,
        /// The provider's number behind a failure; 0 for none.
        code: u32,
    },
    /// A webhook was given up: its receipt is gone.
    Lost {
        /// Milliseconds since 1970.
        time_ms: i64,
        /// Where.
        channel: Channel,
        /// The correlation data it carried.
        attempt_id: Option<String>,
        /// As in [`Line::Webhook`].
        receipt: String,
    },
    /// What was said after a keypress.
    Spoken {
        /// Milliseconds since 1970.
        time_ms: i64,
        /// The correlation data of the call.
        attempt_id: Option<String>,
        /// SHA-256 of everything said, in hex.
        text_sha256: String,
        /// The words, when texts are kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
    },
}

/// One call that passed the provider's checks.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct CallLine {
    /// When it was taken, milliseconds since 1970.
    pub time_ms: i64,
    /// When its answer is due: the earliest instant from which Recado's wait can count.
    pub answer_ms: i64,
    /// Where.
    pub channel: Channel,
    /// `biz_opaque_callback_data`, or `a=` of the status callback.
    pub attempt_id: Option<String>,
    /// Digits of E.164, in full.
    pub to: String,
    /// WhatsApp: the template's name.
    pub template: Option<String>,
    /// SHA-256 in hex of the text: an SMS's body, a call's first TwiML, a WhatsApp text, or a template's text parameters joined by line feeds.
    pub text_sha256: String,
    /// `accepted`, `held`, `error`, `bare`, `lost`, `hang`, `garbage`.
    pub answer: String,
    /// HTTP status; 0 where none is answered.
    pub status: u16,
    /// The provider's number; 0 for none.
    pub code: u32,
    /// Whether the message went out.
    pub counts: bool,
    /// The text, when texts are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Reads send logs.
pub struct SendLog;

impl SendLog {
    /// All whole lines, in the order in which they were written. A last line without its end (the simulator was killed while writing it) is left out:
    /// its answer never left. Errors: the file cannot be read, or a whole line is none of ours (the error names its number).
    pub fn read(path: &Path) -> anyhow::Result<Vec<Line>> {
        let text = std::fs::read_to_string(path)?;
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let parse = |(at, line): (usize, &str)| serde_json::from_str(line).map_err(|_| anyhow::anyhow!("line {} of the send log cannot be read", at + 1));
        whole.lines().enumerate().map(parse).collect()
    }
}

type Pending = (Vec<u8>, oneshot::Sender<()>);

/// How many lines may wait for the disk; callers wait beyond it.
const PENDING_MAX: usize = 4_096;

/// Writes lines from one thread: all that wait share one write and one sync.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Pending>>,
    keep_texts: bool,
}

impl Writer {
    pub(super) fn open(path: Option<&Path>, keep_texts: bool) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self { queue: None, keep_texts }) };
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        let (queue, waiting) = mpsc::channel(PENDING_MAX);
        std::thread::Builder::new().name("send-log".into()).spawn(move || write_all(file, waiting))?;
        Ok(Self { queue: Some(queue), keep_texts })
    }

    /// Returns when the line is on the disk; false when it cannot be.
    pub(super) async fn append(&self, mut line: Line, words: Option<&str>) -> bool {
        let Some(queue) = &self.queue else { return true };
        if self.keep_texts
            && let Line::Call(CallLine { text, .. }) | Line::Spoken { text, .. } = &mut line
        {
            *text = words.map(str::to_owned);
        }
        let mut bytes = serde_json::to_vec(&line).expect("a line has string keys only");
        bytes.push(b'\n');
        let (written, on_disk) = oneshot::channel();
        queue.send((bytes, written)).await.is_ok() && on_disk.await.is_ok()
    }
}

/// Ends when the queue is closed, or at the first error: then every caller that waits learns it.
fn write_all(mut file: std::fs::File, mut waiting: mpsc::Receiver<Pending>) {
    let mut bytes = Vec::new();
    let mut callers = Vec::new();
    while let Some((line, caller)) = waiting.blocking_recv() {
        bytes.extend_from_slice(&line);
        callers.push(caller);
        while let Ok((line, caller)) = waiting.try_recv() {
            bytes.extend_from_slice(&line);
            callers.push(caller);
        }
        if file.write_all(&bytes).and_then(|()| file.sync_data()).is_err() {
            return;
        }
        bytes.clear();
        for caller in callers.drain(..) {
            let _ = caller.send(()); // a caller that has gone needs no word
        }
    }
}
