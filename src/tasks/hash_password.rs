//! `cargo loco task hash_password`: a password in, what goes into `.env` out.
//!
//! Needs no configuration: the command line runs it before any is read, so that it works where production would refuse to start.

use std::io::{self, BufRead, IsTerminal as _, Write};

use loco_rs::prelude::*;

use crate::identity;

/// The task.
pub struct HashPassword;

#[async_trait]
impl Task for HashPassword {
    fn task(&self) -> TaskInfo {
        TaskInfo {
            name: "hash_password".to_string(),
            detail: "Makes BASIC_AUTH_PW_HASH from a password on standard input".to_string(),
        }
    }

    async fn run(&self, _ctx: &AppContext, _vars: &task::Vars) -> Result<()> {
        ask_and_print().map_err(|reason| Error::string(&reason))
    }
}

/// Asks for the password (twice on a terminal, without showing it), and prints its hash.
///
/// # Errors
/// Why there is no hash.
pub fn ask_and_print() -> std::result::Result<(), String> {
    let stdin = io::stdin();
    let password = if stdin.is_terminal() {
        let ask = |prompt| {
            rpassword::prompt_password(prompt)
                .map_err(|error| format!("cannot read the password: {error}"))
        };
        let password = ask("Password: ")?;
        if password != ask("Once more: ")? {
            return Err("the two are not the same".to_owned());
        }
        password
    } else {
        read_line(&mut stdin.lock())?
    };
    let hash = identity::hash_password(&password)?;
    print(&hash, &mut io::stdout().lock()).map_err(|error| format!("cannot write: {error}"))
}

/// One line without its end, which is no part of the password.
fn read_line(input: &mut impl BufRead) -> std::result::Result<String, String> {
    let mut line = String::new();
    input
        .read_line(&mut line)
        .map_err(|error| format!("cannot read the password: {error}"))?;
    let line = line.strip_suffix('\n').map_or(line.as_str(), |line| {
        line.strip_suffix('\r').unwrap_or(line)
    });
    Ok(line.to_owned())
}

/// The hash alone on the first line, for programs; then what a person needs. The quotes are for the `$`: without them most
/// readers of `.env` files, and every shell, put variables in its place.
fn print(hash: &str, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{hash}")?;
    writeln!(
        out,
        "\nFor .env (and, with `export` before it, for a shell), in single quotes because of the $:"
    )?;
    writeln!(out, "BASIC_AUTH_PW_HASH='{hash}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_end_is_no_part_of_the_password() {
        for (given, password) in [
            ("a b\n", "a b"),
            ("a\r\n", "a"),
            ("a", "a"),
            (" a \nb\n", " a "),
            ("", ""),
        ] {
            assert_eq!(read_line(&mut given.as_bytes()).unwrap(), password);
        }
    }

    #[test]
    fn the_hash_stands_alone_on_the_first_line() {
        let mut out = Vec::new();
        print("$2b$12$x", &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().next(), Some("$2b$12$x"));
        assert_eq!(text.lines().last(), Some("BASIC_AUTH_PW_HASH='$2b$12$x'"));
    }
}
