//! The stand-in for Kafka in this process, and in front of it the patience that it lacks: it answers a fetch at once, also when there is nothing.
//!
//! What is easily got wrong: librdkafka asks again as soon as it is answered. Without the pause below four consumers keep more than one core busy with asking
//! (measured: 30 s of processor time in a demo of 20 s, 9 s with it), and on a busy machine leases run out meanwhile.

use anyhow::Context;
use noida::kafka::connection::handle_connection;
use noida::kafka::engine::Engine;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// Between two fetches of one connection. Kafka itself would wait up to `fetch.wait.max.ms` for records, 20 ms and more with us.
const FETCH_PACE: Duration = Duration::from_millis(10);
/// The key of a fetch. Source: Kafka's protocol guide.
const FETCH: [u8; 2] = [0, 1];
/// No request of ours is longer.
const REQUEST_BYTES_MAX: usize = 16 << 20;

/// Starts it. It ends with the process. Errors: loopback has no free port.
pub(super) fn start() -> anyhow::Result<SocketAddr> {
    let listen = || TcpListener::bind("127.0.0.1:0").context("the stand-in for Kafka cannot listen");
    let (front, back) = (listen()?, listen()?);
    let (address, behind) = (front.local_addr()?, back.local_addr()?);
    let engine = Engine::new(address.ip().to_string(), address.port().into());
    engine.spawn_log_cleaner();
    thread::spawn(move || {
        for stream in back.incoming().flatten() {
            let engine = engine.clone();
            thread::spawn(move || handle_connection(stream, engine));
        }
    });
    thread::spawn(move || {
        for client in front.incoming().flatten() {
            // A client whose connection fails comes again.
            let _ = connect(client, behind);
        }
    });
    Ok(address)
}

/// Relays one connection in both directions; each side ends when the other has.
fn connect(client: TcpStream, behind: SocketAddr) -> io::Result<()> {
    let broker = TcpStream::connect(behind)?;
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let (requests, answers) = ((client.try_clone()?, broker.try_clone()?), (broker, client));
    thread::spawn(move || {
        let (mut from, mut to) = requests;
        let _ = relay_requests(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    thread::spawn(move || {
        let (mut from, mut to) = answers;
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    Ok(())
}

/// Hands requests on, one after the other, fetches no faster than [`FETCH_PACE`]. Ends with the connection.
fn relay_requests(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut fetched = Duration::ZERO;
    let mut request = Vec::new();
    loop {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let bytes = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if bytes > REQUEST_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        request.resize(bytes, 0);
        from.read_exact(&mut request)?;
        if request.starts_with(&FETCH) {
            thread::sleep((fetched + FETCH_PACE).saturating_sub(crate::clock::monotonic()));
            fetched = crate::clock::monotonic();
        }
        to.write_all(&[&length, request.as_slice()].concat())?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_pass_as_they_are_and_only_fetches_are_paced() {
        let other = [&[0, 0, 0, 4][..], &[0, 3, 0, 9]].concat();
        let fetch = [&[0, 0, 0, 6][..], &[0, 1, 0, 11, 7, 7]].concat();
        let took = |requests: &[u8]| {
            let (began, mut out) = (crate::clock::monotonic(), Vec::new());
            assert_eq!(relay_requests(&mut &*requests, &mut out).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
            assert_eq!(out, requests);
            crate::clock::monotonic() - began
        };
        assert!(took(&[&fetch[..], &other, &fetch, &fetch].concat()) >= 2 * FETCH_PACE);
        assert!(took(&other.repeat(1_000)) < 100 * FETCH_PACE, "a pause for each would be 1,000 of them");
        let long = [255, 255, 255, 255, 0, 1];
        assert_eq!(relay_requests(&mut &long[..], &mut Vec::new()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
