//! Env files: `KEY=VALUE` lines that a POSIX shell (`set -a; . FILE`) and this binary read alike.
//!
//! Invariant: whatever the parser accepts means the same to the shell; what the two would read
//! differently (an unquoted `$`, a backslash, a space) is refused by its line number.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Why an env file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EnvFileError {
    /// The file cannot be opened or read.
    #[error("cannot read the env file {path}: {cause}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        cause: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write the env file {path}: {cause}")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        cause: io::Error,
    },
    /// A line is not `KEY=VALUE`, or a shell would read it differently.
    #[error("line {line} of the env file: {reason}")]
    Line {
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A value cannot be written on one line.
    #[error("the value of {key} has a line break or a NUL and cannot be written to an env file")]
    Unquotable {
        /// The key.
        key: String,
    },
}

/// Reads an env file; of a key given twice the last value holds, as in a shell.
pub fn read(path: &Path) -> Result<BTreeMap<String, String>, EnvFileError> {
    let text = fs::read_to_string(path).map_err(|cause| EnvFileError::Unreadable { path: path.to_owned(), cause })?;
    parse(&text)
}

/// Reads the text of an env file.
pub fn parse(text: &str) -> Result<BTreeMap<String, String>, EnvFileError> {
    let mut values = BTreeMap::new();
    for (index, raw) in text.lines().enumerate() {
        let fault = |reason| EnvFileError::Line { line: index + 1, reason };
        let line = raw.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").map_or(line, str::trim_start);
        let (key, value) = line.split_once('=').ok_or_else(|| fault("not KEY=VALUE"))?;
        if !is_key(key) {
            return Err(fault("a key is letters, digits and underscores"));
        }
        values.insert(key.to_owned(), unquote(value).map_err(fault)?);
    }
    Ok(values)
}

/// The text of an env file with these values, in the order of their keys, quoted where needed.
pub fn render(values: &BTreeMap<String, String>) -> Result<String, EnvFileError> {
    let mut text = String::new();
    for (key, value) in values {
        if !is_key(key) || value.contains(['\n', '\r', '\0']) {
            return Err(EnvFileError::Unquotable { key: key.clone() });
        }
        text.push_str(key);
        text.push('=');
        if value.chars().all(is_plain) {
            text.push_str(value);
        } else {
            text.push('\'');
            text.push_str(&value.replace('\'', r"'\''"));
            text.push('\'');
        }
        text.push('\n');
    }
    Ok(text)
}

/// Writes an env file readable by its owner only (mode 0600), in one step: a reader sees the old
/// content or the new, never half of it.
pub fn write(path: &Path, values: &BTreeMap<String, String>) -> Result<(), EnvFileError> {
    let text = render(values)?;
    let unwritable = |cause| EnvFileError::Unwritable { path: path.to_owned(), cause };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(name);
    let written = write_private(&beside, &text).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // Nothing of a failed write stays behind; the failure itself is what is reported.
        let _ = fs::remove_file(&beside);
    }
    written.map_err(unwritable)
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file: File = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn is_key(key: &str) -> bool {
    key.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Characters that mean themselves to a shell in an unquoted assignment.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_-./:@%+,=?[]{}^".contains(c)
}

fn unquote(value: &str) -> Result<String, &'static str> {
    if let Some(rest) = value.strip_prefix('"') {
        let inner = rest.strip_suffix('"').ok_or("the quotes do not close")?;
        if inner.contains(['"', '$', '`', '\\']) {
            return Err("a shell would change this value: use single quotes");
        }
        return Ok(inner.to_owned());
    }
    if let Some(rest) = value.strip_prefix('\'') {
        let inner = rest.strip_suffix('\'').ok_or("the quotes do not close")?;
        // `'\''` is the one way to write a quote inside single quotes.
        let parts: Vec<&str> = inner.split(r"'\''").collect();
        if parts.iter().any(|part| part.contains('\'')) {
            return Err("the quotes do not close");
        }
        return Ok(parts.join("'"));
    }
    if value.chars().all(is_plain) {
        Ok(value.to_owned())
    } else {
        Err("a shell would change this value: use single quotes")
    }
}

#[cfg(test)]
mod tests {
    use super::{parse, render, write};
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    fn awkward() -> BTreeMap<String, String> {
        [
            ("A", "plain"),
            ("B", "two words & $HOME `x` \\n"),
            ("C", "it's"),
            ("D", ""),
            ("E", "postgres://u:p@127.0.0.1:5432/db?host=/tmp/x&sslmode=disable"),
            ("F", "''"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = render(&awkward()).unwrap();
        assert_eq!(parse(&text).unwrap(), awkward());
    }

    #[test]
    fn a_shell_reads_the_same_and_others_may_not() {
        let path = std::env::temp_dir().join(format!("env-file-{}", std::process::id()));
        write(&path, &awkward()).unwrap();
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let script = format!("set -a; . {}; printf '%s\\n' \"$A\" \"$B\" \"$C\" \"$D\" \"$E\" \"$F\"", path.display());
        let shell = Command::new("sh").arg("-c").arg(script).output().unwrap();
        std::fs::remove_file(&path).unwrap();
        let seen = String::from_utf8(shell.stdout).unwrap();
        let expected: Vec<String> = awkward().into_values().collect();
        assert_eq!(seen.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn comments_exports_and_quotes_are_understood() {
        let text = "# a comment\n\nexport A=1\nB=\"two words\"\nC='x'\n";
        let values = parse(text).unwrap();
        assert_eq!(values["A"], "1");
        assert_eq!(values["B"], "two words");
        assert_eq!(values["C"], "x");
    }

    #[test]
    fn what_a_shell_would_read_differently_is_refused_by_its_line() {
        for bad in ["A=$HOME", "A=a b", "A=\"$X\"", "A='x", "A='a'b'", "A", "1A=x"] {
            let error = parse(&format!("\n{bad}\n")).unwrap_err().to_string();
            assert!(error.starts_with("line 2 of the env file"), "{bad}: {error}");
        }
    }
}
