//! The named places at which a process may be told to kill itself, so that each crash of `testing.md` §2.2 can be had when it is wanted, and as often.
//!
//! A process is armed by its environment: `CRASH_POINT` names the place, `CRASH_PASS` says at which pass through it, from 1 (1 where it is left out). Then it
//! gets SIGKILL from itself: nothing is unwound, flushed or said; with `CRASH_ACTION=stop` SIGSTOP, and it goes on when somebody sends SIGCONT. Unarmed, a point does
//! nothing. Without the cargo feature `mutants`, which no release has (`seeded_bug.rs`), it is not even there.

/// Passes a crash point. `if`: a pass that does not count unless this is true. `after`: what is done first in the pass that kills, where the program goes on
/// before what the point's sentence says is true.
macro_rules! crash_point {
    ($name:literal $(, after $first:expr)?) => {
        #[cfg(feature = "mutants")]
        if $crate::crash_point::reached($name) {
            $($first;)?
            $crate::crash_point::die();
        }
    };
    ($name:literal, if $counts:expr $(, after $first:expr)?) => {
        #[cfg(feature = "mutants")]
        if $counts && $crate::crash_point::reached($name) {
            $($first;)?
            $crate::crash_point::die();
        }
    };
}
pub(crate) use crash_point;

#[cfg(all(test, feature = "mutants"))]
pub(crate) use armed::tests::child;
#[cfg(feature = "mutants")]
pub(crate) use armed::{arm, die, reached};

#[cfg(feature = "mutants")]
mod armed {
    use anyhow::{Context, bail};
    use std::sync::atomic::{AtomicBool, Ordering};

    /// The variable of the environment that names the point. Like `SEEDED_BUG` it does not begin with `RECADO_`: those are settings.
    const POINT: &str = "CRASH_POINT";
    /// The variable that says which pass through it kills.
    const PASS: &str = "CRASH_PASS";
    /// The variable that says what happens in it: `kill`, as without it, or `stop`.
    const ACTION: &str = "CRASH_ACTION";
    static STOPS: AtomicBool = AtomicBool::new(false);

    /// All of them, in the order of `testing.md` §2.2: the engine's, the dispatcher's, the gateway's.
    const POINTS: [&str; 19] = [
        "after_poll",
        "on_timer_fire",
        "mid_txn",
        "after_changelog_ack",
        "before_endtxn",
        "after_endtxn",
        "on_revoke",
        "mid_restore",
        "mid_load",
        "mid_flush",
        "mid_apply",
        "before_intent",
        "after_intent",
        "before_post",
        "after_post_before_response",
        "after_response",
        "before_accept",
        "webhook_before_produce",
        "webhook_after_ack_before_200",
    ];

    /// Arms the point that the environment names; to be called once, before anything passes one. Errors: no point of that name, no number of a pass.
    pub(crate) fn arm() -> anyhow::Result<()> {
        let Some(name) = std::env::var_os(POINT) else { return Ok(()) };
        let Some(name) = POINTS.into_iter().find(|point| name == *point) else { bail!("{POINT}: no crash point is called {}", name.display()) };
        let pass = match std::env::var_os(PASS) {
            None => 1,
            Some(text) => text
                .to_str()
                .and_then(|text| text.parse::<u32>().ok())
                .filter(|pass| *pass > 0)
                .with_context(|| format!("{PASS}: {} is not the number of a pass: they are counted from 1", text.display()))?,
        };
        match std::env::var_os(ACTION) {
            None => {}
            Some(action) if action == "kill" => {}
            Some(action) if action == "stop" => STOPS.store(true, Ordering::Relaxed),
            Some(action) => bail!("{ACTION}: {} is neither kill nor stop", action.display()),
        }
        // The passes before it do nothing, it is told that it is the one, and those behind it never are.
        fail::cfg(name, &format!("{}*off->1*return", pass - 1)).map_err(anyhow::Error::msg)
    }

    /// Whether this pass through the point is the one that kills.
    pub(crate) fn reached(name: &str) -> bool {
        fail::fail_point!(name, |_| true);
        false
    }

    /// Kills this process as `kill -9` would, or stops it until somebody lets it go on.
    pub(crate) fn die() {
        let stops = STOPS.load(Ordering::Relaxed);
        #[expect(unsafe_code, reason = "no safe wrapper sends a signal")]
        // SAFETY: both calls take and return numbers.
        unsafe {
            libc::kill(libc::getpid(), if stops { libc::SIGSTOP } else { libc::SIGKILL });
        }
        if stops {
            return;
        }
        // The signal is delivered before the call returns; whatever happens, nothing of this thread comes after it.
        loop {
            std::thread::park();
        }
    }

    #[cfg(test)]
    pub(super) mod tests {
        use super::*;
        use std::io::Write;
        use std::os::unix::process::ExitStatusExt;
        use std::process::{Command, Stdio};

        /// This test program once more, armed like this, with one test alone: `module` is its `module_path!()`. The test program itself is never armed.
        pub(crate) fn child(module: &str, test: &str, point: &str, pass: &str) -> Command {
            let name = format!("{}::{test}", module.split_once("::").expect("a module of the crate").1);
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", &name, "--nocapture", "--test-threads=1"]).env(POINT, point).env(PASS, pass);
            command
        }

        /// Past the test harness, which would keep it back until a test ends.
        fn say(line: &str) {
            std::io::stdout().write_all(format!("{line}\n").as_bytes()).unwrap();
        }

        #[test]
        fn an_armed_process_dies_by_sigkill_in_the_pass_that_was_named_and_not_before() {
            if std::env::var_os(POINT).is_some() {
                arm().unwrap();
                for pass in 1..=5 {
                    say(&format!("before pass {pass}"));
                    crate::crash_point::crash_point!("after_poll", if pass != 2);
                    crate::crash_point::crash_point!("before_post");
                    crate::crash_point::crash_point!("mid_txn", after say("once more"));
                }
                return;
            }
            let test = "an_armed_process_dies_by_sigkill_in_the_pass_that_was_named_and_not_before";
            for (point, pass, dies_in, last) in [
                ("before_post", "1", 1, "before pass 1"),
                ("before_post", "3", 3, "before pass 3"),
                ("after_poll", "3", 4, "before pass 4"),
                ("mid_txn", "2", 2, "once more"),
            ] {
                let output = child(module_path!(), test, point, pass).output().unwrap();
                let told = String::from_utf8(output.stdout).unwrap();
                assert_eq!(output.status.signal(), Some(libc::SIGKILL), "{point} {pass}: {:?}\n{told}", output.status);
                assert_eq!(told.matches("before pass").count(), dies_in, "{point} {pass}\n{told}");
                assert!(told.trim_end().ends_with(last), "{point} {pass}\n{told}");
            }
            let output = child(module_path!(), test, "before_post", "6").output().unwrap();
            assert!(output.status.success(), "five passes are not six: {:?}", output.status);
        }

        #[test]
        fn a_process_that_is_to_stop_goes_on_when_it_is_told() {
            let test = "a_process_that_is_to_stop_goes_on_when_it_is_told";
            if std::env::var_os(POINT).is_some() {
                arm().unwrap();
                crate::crash_point::crash_point!("before_post");
                crate::crash_point::crash_point!("before_post");
                say("went on");
                return;
            }
            let child = child(module_path!(), test, "before_post", "1").env(ACTION, "stop").stdout(Stdio::piped()).spawn().unwrap();
            let pid = libc::pid_t::try_from(child.id()).unwrap();
            let mut status = 0;
            #[expect(unsafe_code, reason = "the standard library waits for the end alone")]
            // SAFETY: `status` lives as long as the call; the child has not ended, or it would not be told as stopped.
            let told = unsafe { libc::waitpid(pid, &raw mut status, libc::WUNTRACED) };
            assert!(told == pid && libc::WIFSTOPPED(status), "{status:x}");
            #[expect(unsafe_code, reason = "no safe wrapper sends a signal")]
            // SAFETY: the call takes and returns numbers.
            unsafe {
                libc::kill(pid, libc::SIGCONT);
            }
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success() && String::from_utf8(output.stdout).unwrap().contains("went on"));
        }
    }
}
