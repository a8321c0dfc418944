//! Commands that are ours before they are Loco's: Loco would read the configuration and open the database first, which is just what may
//! be wrong (`doctor`), or not be there yet (`task hash_password`), or cost too much every few seconds (`task healthcheck`).

use loco_rs::environment::{Environment, resolve_from_env};

/// A command that is carried out without Loco.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Own {
    /// `task hash_password`
    HashPassword,
    /// `task healthcheck`, in that environment
    Healthcheck(Environment),
    /// `doctor`, in that environment; `doctor --config` is Loco's
    Doctor(Environment),
}

impl Own {
    /// The command that these words, without the program's name, ask for; `None` if it is for Loco, mistakes too.
    #[must_use]
    pub fn asked(args: &[String]) -> Option<Self> {
        let mut environment = None;
        let mut words = Vec::new();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "-e" | "--environment" => environment = Some(args.next()?.clone()),
                word => match word.strip_prefix("--environment=") {
                    Some(name) => environment = Some(name.to_owned()),
                    None => words.push(word),
                },
            }
        }
        let environment = || environment.clone().unwrap_or_else(resolve_from_env).into();
        match words.as_slice() {
            ["task" | "t", "hash_password", ..] => Some(Self::HashPassword),
            ["task" | "t", "healthcheck"] => Some(Self::Healthcheck(environment())),
            ["doctor"] => Some(Self::Doctor(environment())),
            ["doctor", "-p" | "--production"] => Some(Self::Doctor(Environment::Production)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Option<Own> {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Own::asked(&args)
    }

    #[test]
    fn ours_are_told_from_locos() {
        let production = Environment::Production;
        for line in [
            "doctor --production",
            "doctor -p",
            "-e production doctor",
            "doctor --environment=production",
            "doctor --environment production",
        ] {
            assert_eq!(asked(line), Some(Own::Doctor(production.clone())), "{line}");
        }
        assert_eq!(
            asked("t healthcheck -e production"),
            Some(Own::Healthcheck(production))
        );
        assert_eq!(asked("task hash_password x:y"), Some(Own::HashPassword));
        for line in [
            "",
            "start",
            "doctor --config",
            "doctor -c",
            "doctor --help",
            "doctor -e",
            "task",
            "task healthcheck port:1",
        ] {
            assert_eq!(asked(line), None, "{line}");
        }
    }
}
