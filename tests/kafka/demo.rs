//! The demo against a real Kafka: `recado demo --bootstrap`, as somebody types it who has one.

use crate::support;
use std::process::{Command, Stdio};

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_tells_the_same_on_a_real_kafka() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_recado"));
    command.args(["demo", "--seed", "7", "--bootstrap", support::bootstrap()]).env("TMPDIR", temporary.path()).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let (screen, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{screen}\n{errors}");
    let number = |words: &str| -> usize {
        let line = screen.lines().find_map(|line| line.trim_start().strip_prefix(words)).unwrap_or_else(|| panic!("{words} is missing:\n{screen}"));
        line.split_whitespace().find_map(|word| word.parse().ok()).unwrap_or_else(|| panic!("{words} has no number:\n{screen}"))
    };
    let endings = ["delivered", "unconfirmed", "failed", "expired", "cancelled"].map(|word| number(&format!("{word} ")));
    assert_eq!((endings.iter().sum::<usize>(), number("sum ")), (200, 200), "{screen}");
    assert!(endings.iter().all(|count| *count > 0), "{screen}");
    assert!(screen.contains("messages went out, and no attempt twice"), "{screen}");
    let chapter = "Your first own route in ten minutes";
    assert!(screen.contains(chapter) && support::file("README.md").contains(&format!("\n## {chapter}\n")), "what it points to is there: {screen}");
}
