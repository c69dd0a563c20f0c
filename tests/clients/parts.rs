//! Programs of others: brought by `docker/parts.sh`, run beside the tests.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where `docker/parts.sh` has brought a part to. It says itself what to type when the part cannot be had.
pub fn part(name: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docker/parts.sh");
    let output = Command::new("sh").arg(script).arg(name).stderr(Stdio::inherit()).output().expect("sh starts");
    assert!(output.status.success(), "docker/parts.sh {name}: see above what to type");
    String::from_utf8(output.stdout).expect("a path is text").trim().to_owned()
}

/// A program that runs until it is dropped or killed, and no longer than this process.
pub struct Beside {
    child: Child,
    guard: Child,
}

impl Beside {
    /// Starts it; nobody reads what it prints.
    pub fn start(mut command: Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
        // The guard outlives a kill -9 of this process and takes the program with it.
        let (parent, pid) = (std::process::id(), child.id());
        let script = format!("while kill -0 {parent} && kill -0 {pid}; do sleep 0.5; done; kill -0 {parent} || kill -9 {pid}");
        let mut guard = Command::new("setsid");
        guard.args(["sh", "-c", &script]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { child, guard: guard.spawn().expect("sh starts") }
    }

    /// Waits until it listens.
    pub fn wait_for_port(&mut self, port: u16, within: Duration) {
        let deadline = Instant::now() + within;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(self.child.try_wait().expect("it is our child").is_none(), "the program ended at once");
            assert!(Instant::now() < deadline, "it does not listen within {within:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // Both are gone already where these fail.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.guard.wait();
    }
}
