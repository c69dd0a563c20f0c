//! The demo as whoever types `make demo` sees it: the program, its screen, its exit code, and nothing left behind. Real time: it is the whole program.
#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used, reason = "a test says where it failed")]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The program, with its temporary files in `temporary`.
fn demo(temporary: &Path, options: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_recado"));
    command.arg("demo").args(options).env("TMPDIR", temporary).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The first number of the line that begins with these words.
fn number(screen: &str, words: &str) -> usize {
    let line = screen.lines().find_map(|line| line.trim_start().strip_prefix(words)).unwrap_or_else(|| panic!("{words} is missing:\n{screen}"));
    line.split_whitespace().find_map(|word| word.parse().ok()).unwrap_or_else(|| panic!("{words} has no number:\n{screen}"))
}

#[test]
fn the_demo_ends_well_and_counts_every_notification_once_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let began = recado::clock::monotonic();
    let output = demo(temporary.path(), &["--seed", "7"]).wait_with_output().unwrap();
    let took = recado::clock::monotonic() - began;
    let (screen, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{screen}\n{errors}");
    assert!(took < Duration::from_secs(60), "it took {took:?}");
    let endings = ["delivered", "unconfirmed", "failed", "expired", "cancelled"].map(|word| number(&screen, &format!("{word} ")));
    assert_eq!((endings.iter().sum::<usize>(), number(&screen, "sum ")), (200, 200), "{screen}");
    let channels = ["whatsapp", "sms", "voice"].map(|word| number(&screen, &format!("by {word} ")));
    assert_eq!(channels.iter().sum::<usize>(), endings[0], "{screen}");
    assert!(channels.iter().chain(&endings).all(|count| *count > 0) && number(&screen, "double_delivered") > 0, "{screen}");
    assert!(screen.contains("messages went out, and no attempt twice"), "{screen}");
    assert!(screen.contains("5 times shorter than in life") && screen.contains("\n    make test\n"), "{screen}");
    assert!(screen.contains("→ SMS → delivered after") && !screen.contains("\"level\""), "stories are on the screen, the log is not:\n{screen}");
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "its folder is gone");
}

#[test]
fn an_interrupted_demo_clears_away_its_secrets_and_says_where_its_log_is() {
    let temporary = tempfile::tempdir().unwrap();
    let mut child = demo(temporary.path(), &[]);
    let mut screen = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    // The first story: everything runs.
    while !line.contains('→') {
        line.clear();
        assert!(screen.read_line(&mut line).unwrap() > 0, "it ended before its first story");
    }
    let pid = libc::pid_t::try_from(child.id()).unwrap();
    #[expect(unsafe_code, reason = "no safe wrapper sends a signal")]
    // SAFETY: the call takes numbers; the process is ours and not waited for yet.
    let failed = unsafe { libc::kill(pid, libc::SIGTERM) } != 0;
    assert!(!failed);
    let status = child.wait().unwrap();
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(status.code(), Some(1), "{errors}");
    let folders: Vec<_> = std::fs::read_dir(temporary.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let mut left: Vec<_> = std::fs::read_dir(&folders[0]).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["recado.log", "send-log"], "{errors}");
    assert!(errors.contains("it was interrupted") && errors.contains(folders[0].join("recado.log").to_str().unwrap()), "{errors}");
}
