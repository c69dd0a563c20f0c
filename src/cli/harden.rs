//! The first lines of the process: no core dumps, no other process that reads our memory, and a bound on what a record can make us allocate.

use anyhow::{Context, ensure};

/// The limit of one record. A length field in a broken record must not make us allocate more.
const RECORD_BYTES_MAX: usize = 1024 * 1024;

/// Codes and texts are in memory for moments; neither a dump nor a debugger may find them there. Called before anything else and before any
/// thread.
pub(super) fn process() -> anyhow::Result<()> {
    no_dumps().context("the process could not be closed to dumps and debuggers")?;
    let limit = apache_avro::util::max_allocation_bytes(RECORD_BYTES_MAX);
    ensure!(limit == RECORD_BYTES_MAX, "Avro's allocation limit was already set to {limit} bytes");
    Ok(())
}

fn no_dumps() -> std::io::Result<()> {
    let nothing = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    #[expect(unsafe_code, reason = "no safe wrapper sets a resource limit or the dumpable flag")]
    // SAFETY: both calls take numbers, and a pointer to a value that outlives the call; neither touches our memory otherwise.
    let failed = unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const nothing) != 0 || libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 };
    if failed { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_leaves_no_core_and_is_closed_to_debuggers() {
        no_dumps().unwrap();
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
        #[expect(unsafe_code, reason = "no safe wrapper reads the dumpable flag")]
        // SAFETY: the call takes and returns numbers.
        let dumpable = unsafe { libc::prctl(libc::PR_GET_DUMPABLE) };
        assert_eq!(dumpable, 0);
    }
}
