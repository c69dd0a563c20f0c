//! A proxy that knows just enough of Kafka: it tells one frame from the next, and reads which request it is. Bytes go on unchanged but for the frames that a rule names.
//!
//! Easily got wrong: the broker must advertise the proxy's port (`KAFKA_ADVERTISED`), or clients walk around it after their first question. Replication and
//! transaction markers go over another listener and never pass here.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub const PRODUCE: i16 = 0;
pub const FETCH: i16 = 1;
pub const LIST_OFFSETS: i16 = 2;
pub const INIT_PRODUCER_ID: i16 = 22;
pub const ADD_PARTITIONS: i16 = 24;
pub const ADD_OFFSETS: i16 = 25;
pub const END_TXN: i16 = 26;
pub const WRITE_MARKERS: i16 = 27;
pub const TXN_OFFSETS: i16 = 28;

/// How long a test waits for a frame.
pub const MET_WITHIN: Duration = Duration::from_secs(60);
/// A frame of a bigger size is none.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// From the client, or back to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Request,
    Answer,
}

/// What is done to a frame that a rule names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// It goes on, and the test hears of it.
    Note,
    /// It is kept until released, and all behind it on its connection too.
    Hold,
    /// It alone is kept until released: what comes behind it overtakes it. librdkafka finds the answer to each by its correlation id; a Java client would not.
    Aside,
    /// It is kept, the client loses its connection, the broker does not: when released, the frame arrives at the broker late, and its answer is told to the test.
    Strand,
    /// It is dropped, and the client loses its connection.
    Lose,
}

/// A frame that passed, for the log.
#[derive(Clone, Copy, Debug)]
pub struct Passed {
    pub at: Instant,
    pub connection: usize,
    pub way: Way,
    pub key: i16,
    pub version: i16,
    pub correlation: i32,
    /// What a rule made of it.
    pub deed: Option<Deed>,
}

/// The proxy, listening until the program ends.
pub struct Proxy {
    pub port: u16,
    book: Arc<Book>,
}

#[derive(Default)]
struct Book {
    upstream: Mutex<u16>,
    rules: Mutex<Vec<Rule>>,
    log: Mutex<Vec<Passed>>,
    /// Requests without an answer: connection and correlation id, key and version.
    open: Mutex<BTreeMap<(usize, i32), (i16, i16)>>,
    connections: AtomicUsize,
    rules_made: AtomicUsize,
}

struct Rule {
    id: usize,
    key: i16,
    way: Way,
    /// How often it still counts.
    left: usize,
    deed: Deed,
    met: mpsc::Sender<Vec<u8>>,
    release: watch::Receiver<bool>,
    late: mpsc::Sender<Vec<u8>>,
}

/// What a rule asks for, taken out of the book.
struct Order {
    deed: Deed,
    met: mpsc::Sender<Vec<u8>>,
    release: watch::Receiver<bool>,
    late: mpsc::Sender<Vec<u8>>,
}

/// A test's hold on one rule. Dropped unreleased, the frame that it keeps is gone for ever.
pub struct Grip {
    what: String,
    id: usize,
    met: mpsc::Receiver<Vec<u8>>,
    release: watch::Sender<bool>,
    late: mpsc::Receiver<Vec<u8>>,
    book: Arc<Book>,
}

impl Grip {
    /// Waits until the rule has met its frame; returns the frame without its size.
    pub fn met(&self) -> Vec<u8> {
        self.met.recv_timeout(MET_WITHIN).unwrap_or_else(|_| panic!("{}: no such frame within {MET_WITHIN:?}", self.what))
    }

    /// Whether the rule meets a frame within this time.
    pub fn meets(&self, within: Duration) -> bool {
        self.met.recv_timeout(within).is_ok()
    }

    /// Lets what is kept go on.
    pub fn release(self) {
        self.release.send_replace(true);
    }

    /// Lets a stranded frame arrive; returns what the broker answers.
    pub fn arrive(self) -> Vec<u8> {
        self.release.send_replace(true);
        self.late.recv_timeout(MET_WITHIN).unwrap_or_else(|_| panic!("{}: the broker did not answer", self.what))
    }

    /// The rule no longer counts. Returns how many frames it met that nobody has asked for.
    pub fn disarm(self) -> usize {
        lock(&self.book.rules).retain(|rule| rule.id != self.id);
        self.met.try_iter().count()
    }
}

impl Proxy {
    /// Listens; where to is told later, since the broker must know this port first.
    pub async fn open() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (port, book) = (listener.local_addr().unwrap().port(), Arc::new(Book::default()));
        let shared = book.clone();
        tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                let book = shared.clone();
                tokio::spawn(async move {
                    // The broker may be away: then the client sees its connection end.
                    let _ = connect(client, book).await;
                });
            }
        });
        Self { port, book }
    }

    /// The port of the broker's listener.
    pub fn lead_to(&self, port: u16) {
        *lock(&self.book.upstream) = port;
    }

    /// From now on, this is done to the next frame of this kind.
    pub fn next(&self, key: i16, way: Way, deed: Deed) -> Grip {
        self.rule(key, way, deed, 1)
    }

    /// From now on, this is done to the next so many frames of this kind.
    pub fn rule(&self, key: i16, way: Way, deed: Deed, times: usize) -> Grip {
        let (met, met_here) = mpsc::channel();
        let (late, late_here) = mpsc::channel();
        let (release, release_there) = watch::channel(false);
        let id = self.book.rules_made.fetch_add(1, Ordering::Relaxed);
        lock(&self.book.rules).push(Rule { id, key, way, left: times, deed, met, release: release_there, late });
        Grip { what: format!("{way:?} {} {deed:?}", word(key)), id, met: met_here, release, late: late_here, book: self.book.clone() }
    }

    /// How many requests of this kind have no answer yet.
    pub fn in_flight(&self, key: i16) -> usize {
        lock(&self.book.open).values().filter(|(other, _)| *other == key).count()
    }

    /// Forgets what has passed.
    pub fn forget(&self) {
        lock(&self.book.log).clear();
    }

    /// What has passed since the last [`Proxy::forget`].
    pub fn log(&self) -> Vec<Passed> {
        lock(&self.book.log).clone()
    }

    /// The transactional frames that have passed, one a line.
    pub fn story(&self) -> String {
        let log = self.log();
        let start = log.first().map(|passed| passed.at);
        let line = |passed: &Passed| {
            let ms = start.map_or(0, |start| passed.at.duration_since(start).as_millis());
            let deed = passed.deed.map_or_else(String::new, |deed| format!("  {deed:?}"));
            format!("  {ms:>7} ms  #{:<3} {:?} {} v{} ({}){deed}\n", passed.connection, passed.way, word(passed.key), passed.version, passed.correlation)
        };
        log.iter().filter(|passed| passed.key == PRODUCE || (INIT_PRODUCER_ID..=TXN_OFFSETS).contains(&passed.key)).map(line).collect()
    }
}

impl Book {
    fn order(&self, key: i16, way: Way) -> Option<Order> {
        let mut rules = lock(&self.rules);
        let at = rules.iter().position(|rule| rule.key == key && rule.way == way)?;
        let rule = &mut rules[at];
        rule.left -= 1;
        let order = Order { deed: rule.deed, met: rule.met.clone(), release: rule.release.clone(), late: rule.late.clone() };
        if rule.left == 0 {
            rules.remove(at);
        }
        Some(order)
    }

    /// Nobody waits for answers on this connection any more.
    fn closed(&self, connection: usize) {
        lock(&self.open).retain(|(other, _), _| *other != connection);
    }

    fn note(&self, connection: usize, way: Way, (key, version): (i16, i16), correlation: i32, deed: Option<Deed>) {
        lock(&self.log).push(Passed { at: Instant::now(), connection, way, key, version, correlation, deed });
    }
}

/// What the two directions of one connection share.
#[derive(Default)]
struct Line {
    /// Towards the client; `None` when it has been cut off.
    client: tokio::sync::Mutex<Option<OwnedWriteHalf>>,
    /// The correlation id of the frame that arrives late, and who waits for its answer.
    late: Mutex<Option<(i32, mpsc::Sender<Vec<u8>>)>>,
}

async fn connect(client: TcpStream, book: Arc<Book>) -> io::Result<()> {
    let port = *lock(&book.upstream);
    let broker = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let number = book.connections.fetch_add(1, Ordering::Relaxed);
    let ((from_client, to_client), (from_broker, to_broker)) = (client.into_split(), broker.into_split());
    let line = Arc::new(Line { client: tokio::sync::Mutex::new(Some(to_client)), late: Mutex::default() });
    tokio::spawn({
        let (book, line) = (book.clone(), line.clone());
        async move {
            // Whichever side ends it: the other sees it end too.
            let _ = answers(from_broker, &book, &line, number).await;
            line.client.lock().await.take();
            book.closed(number);
        }
    });
    let ended = requests(from_client, to_broker, &book, &line, number).await;
    book.closed(number); // it may have noted a request after the other direction had ended
    ended
}

async fn requests(mut client: OwnedReadHalf, broker: OwnedWriteHalf, book: &Arc<Book>, line: &Line, number: usize) -> io::Result<()> {
    let broker = Arc::new(tokio::sync::Mutex::new(broker));
    loop {
        let frame = frame(&mut client).await?;
        // Nothing but the header's first eight bytes is read; they are the same in all its versions.
        let (Some(key), Some(version), Some(correlation)) = (short(&frame, 0), short(&frame, 2), long(&frame, 4)) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let order = book.order(key, Way::Request);
        book.note(number, Way::Request, (key, version), correlation, order.as_ref().map(|order| order.deed));
        if let Some(Order { deed, met, release, late }) = order {
            match deed {
                Deed::Note => told(&met, &frame),
                Deed::Hold => {
                    told(&met, &frame);
                    released(release).await?;
                }
                Deed::Aside => {
                    told(&met, &frame);
                    let (broker, book) = (broker.clone(), book.clone());
                    tokio::spawn(async move {
                        released(release).await?;
                        lock(&book.open).insert((number, correlation), (key, version));
                        write(&mut *broker.lock().await, &frame).await
                    });
                    continue;
                }
                Deed::Strand => {
                    drop(client);
                    line.client.lock().await.take();
                    *lock(&line.late) = Some((correlation, late));
                    told(&met, &frame);
                    released(release).await?;
                    write(&mut *broker.lock().await, &frame).await?;
                    // The broker's side stays open until the broker closes it.
                    return std::future::pending().await;
                }
                Deed::Lose => {
                    line.client.lock().await.take();
                    told(&met, &frame);
                    return Ok(());
                }
            }
        }
        lock(&book.open).insert((number, correlation), (key, version));
        write(&mut *broker.lock().await, &frame).await?;
    }
}

async fn answers(mut broker: OwnedReadHalf, book: &Book, line: &Line, number: usize) -> io::Result<()> {
    loop {
        let frame = frame(&mut broker).await?;
        let correlation = long(&frame, 0).ok_or(io::ErrorKind::InvalidData)?;
        if let Some((_, late)) = lock(&line.late).take_if(|(other, _)| *other == correlation) {
            // Nobody waits for it any more when the test has failed.
            let _ = late.send(frame);
            continue;
        }
        let Some(of) = lock(&book.open).remove(&(number, correlation)) else { continue };
        let order = book.order(of.0, Way::Answer);
        book.note(number, Way::Answer, of, correlation, order.as_ref().map(|order| order.deed));
        if let Some(Order { deed, met, release, .. }) = order {
            told(&met, &frame);
            match deed {
                Deed::Note => {}
                Deed::Hold | Deed::Aside => released(release).await?,
                Deed::Strand | Deed::Lose => return Ok(()),
            }
        }
        if let Some(client) = line.client.lock().await.as_mut() {
            write(client, &frame).await?;
        }
    }
}

fn told(met: &mpsc::Sender<Vec<u8>>, frame: &[u8]) {
    // A test that has let go of its grip wants to hear nothing more.
    let _ = met.send(frame.to_vec());
}

async fn released(mut release: watch::Receiver<bool>) -> io::Result<()> {
    // A test that has let go of its grip never releases.
    release.wait_for(|released| *released).await.map(drop).map_err(|_| io::ErrorKind::ConnectionAborted.into())
}

/// The next frame, without its size.
async fn frame(from: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    let size = usize::try_from(from.read_i32().await?).ok().filter(|size| *size <= FRAME_BYTES_MAX).ok_or(io::ErrorKind::InvalidData)?;
    let mut frame = vec![0; size];
    from.read_exact(&mut frame).await?;
    Ok(frame)
}

async fn write(to: &mut OwnedWriteHalf, frame: &[u8]) -> io::Result<()> {
    let size = i32::try_from(frame.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    to.write_all(&[&size.to_be_bytes(), frame].concat()).await
}

/// The number in these two bytes.
pub fn short(frame: &[u8], at: usize) -> Option<i16> {
    frame.get(at..at + 2)?.try_into().ok().map(i16::from_be_bytes)
}

fn long(frame: &[u8], at: usize) -> Option<i32> {
    frame.get(at..at + 4)?.try_into().ok().map(i32::from_be_bytes)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

/// The kinds of requests that a story tells of.
fn word(key: i16) -> &'static str {
    match key {
        PRODUCE => "Produce",
        FETCH => "Fetch",
        LIST_OFFSETS => "ListOffsets",
        INIT_PRODUCER_ID => "InitProducerId",
        ADD_PARTITIONS => "AddPartitionsToTxn",
        ADD_OFFSETS => "AddOffsetsToTxn",
        END_TXN => "EndTxn",
        WRITE_MARKERS => "WriteTxnMarkers",
        TXN_OFFSETS => "TxnOffsetCommit",
        _ => "another",
    }
}
