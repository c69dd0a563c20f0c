//! Secrets come from files and from nowhere else. A file holds the secrets that are in force, one a line, newest first, so that both work while one is
//! being replaced.

use crate::privacy::Secret;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// No secret file of ours is longer; a longer one is refused rather than read.
const BYTES_MAX: u64 = 64 * 1024;

/// What people write where a secret will stand one day.
const PLACEHOLDERS: [&str; 12] =
    ["changeme", "change-me", "change_me", "todo", "xxx", "secret", "password", "token", "placeholder", "example", "test", "your-token-here"];

/// The name of a file that holds secrets. An empty name means that there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct SecretFile(PathBuf);

impl SecretFile {
    /// The file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Whether a file is named at all.
    pub fn is_named(&self) -> bool {
        !self.0.as_os_str().is_empty()
    }

    /// Its place.
    pub fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn path_mut(&mut self) -> &mut PathBuf {
        &mut self.0
    }

    /// The secrets in it, newest first: its lines without the white space around them, empty lines and lines that begin with `#` left out; at least one.
    /// Read anew at each call; the roles call it when they start, so a replaced file counts from the next restart on.
    ///
    /// Errors: one sentence without anything of the content: the file cannot be read, is readable by others, is no UTF-8, is longer than 64 KiB, holds no
    /// secret, or one that is obviously a placeholder.
    pub fn read(&self) -> Result<Vec<Secret<String>>, String> {
        Ok(self.lines()?.into_iter().map(|line| Secret::new((*line).clone())).collect())
    }

    pub(super) fn lines(&self) -> Result<Vec<Zeroizing<String>>, String> {
        let name = self.0.display();
        let about = std::fs::metadata(&self.0).map_err(|error| format!("The file {name} cannot be read ({}).", error.kind()))?;
        if !about.is_file() {
            return Err(format!("{name} is no file."));
        }
        let mode = about.permissions().mode() & 0o777;
        if mode & 0o027 != 0 {
            return Err(format!("The file {name} has mode {mode:04o}: others may read it; type `chmod 0400` for it."));
        }
        if about.len() > BYTES_MAX {
            return Err(format!("The file {name} is longer than {BYTES_MAX} bytes, which no secret is."));
        }
        let bytes = Zeroizing::new(std::fs::read(&self.0).map_err(|error| format!("The file {name} cannot be read ({}).", error.kind()))?);
        let text = std::str::from_utf8(&bytes).map_err(|_| format!("The file {name} is no UTF-8 text."))?;
        let lines: Vec<_> =
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).map(|line| Zeroizing::new(line.to_owned())).collect();
        if lines.is_empty() {
            return Err(format!("The file {name} holds no secret."));
        }
        if lines.iter().any(|line| is_placeholder(line)) {
            return Err(format!("The file {name} holds a placeholder where the secret should stand."));
        }
        Ok(lines)
    }
}

fn is_placeholder(line: &str) -> bool {
    let lower = Zeroizing::new(line.to_lowercase());
    PLACEHOLDERS.contains(&lower.as_str()) || (line.starts_with('<') && line.ends_with('>')) || line.chars().all(|c| matches!(c, 'x' | 'X' | '*' | '.' | '0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};

    fn file(folder: &Path, content: &[u8], mode: u32) -> SecretFile {
        let path = folder.join("secret");
        let _ = fs::remove_file(&path);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        SecretFile::new(path)
    }

    #[test]
    fn secrets_are_lines_newest_first() {
        let folder = tempfile::tempdir().unwrap();
        let lines = file(folder.path(), b"# since 3 March\n  new-5f1d \n\nold-77aa\n", 0o400).lines().unwrap();
        assert_eq!(lines.iter().map(|line| line.as_str()).collect::<Vec<_>>(), ["new-5f1d", "old-77aa"]);
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_and_its_content_never_quoted() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o404, 0o644, 0o604, 0o420, 0o666] {
            let said = file(folder.path(), b"hunter-2-is-not-here", mode).read().unwrap_err();
            assert!(said.contains("others may read it") && !said.contains("hunter"), "{said}");
        }
        assert!(file(folder.path(), b"5f1d77aa", 0o440).read().is_ok(), "a container's secrets are often readable by their group");
    }

    #[test]
    fn placeholders_and_empty_files_are_no_secrets() {
        let folder = tempfile::tempdir().unwrap();
        for content in ["", "\n# only a remark\n", "changeme", "<your token>", "TODO", "xxxx", "good-one\nPassword"] {
            assert!(file(folder.path(), content.as_bytes(), 0o400).read().is_err(), "{content}");
        }
        assert!(file(folder.path(), &[0xff, 0xfe], 0o400).read().is_err());
        assert!(file(folder.path(), &vec![b'a'; 65 * 1024], 0o400).read().is_err());
        assert!(SecretFile::new(folder.path()).read().is_err());
        assert!(SecretFile::new(folder.path().join("absent")).read().unwrap_err().contains("cannot be read"));
    }
}
