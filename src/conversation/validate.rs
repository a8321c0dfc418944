//! Rules for what comes in, and how a broken one is told: a JSON pointer and a reason.

use serde::Serialize;
use utoipa::ToSchema;
use validator::{Validate, ValidationError, ValidationErrors, ValidationErrorsKind};

/// The most bytes of a topic or a system prompt.
pub const MAX_TEXT_BYTES: usize = 32 * 1024;

/// A rule that an input breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Violation {
    /// Where: a JSON pointer (RFC 6901) into the body; empty for the body itself.
    pub pointer: String,
    /// What is wrong there.
    pub reason: String,
}

impl Violation {
    /// A violation from its two parts.
    #[must_use]
    pub fn new(pointer: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            reason: reason.into(),
        }
    }

    /// What serde has to say, with its path as a pointer.
    #[must_use]
    pub fn from_serde<E: std::error::Error>(error: &serde_path_to_error::Error<E>) -> Self {
        use serde_path_to_error::Segment;
        let mut pointer = String::new();
        for segment in error.path() {
            match segment {
                Segment::Seq { index } => push(&mut pointer, &index.to_string()),
                Segment::Map { key } | Segment::Enum { variant: key } => push(&mut pointer, key),
                Segment::Unknown => {}
            }
        }
        Self {
            pointer,
            reason: error.inner().to_string(),
        }
    }
}

/// Appends one reference token, escaped as RFC 6901 wants it.
fn push(pointer: &mut String, token: &str) {
    pointer.push('/');
    pointer.push_str(&token.replace('~', "~0").replace('/', "~1"));
}

/// Applies the rules that a type's `validate` attributes state.
///
/// # Errors
/// Every broken rule, ordered by pointer.
pub fn check(input: &impl Validate) -> Result<(), Vec<Violation>> {
    let Err(errors) = input.validate() else {
        return Ok(());
    };
    let mut violations = Vec::new();
    collect("", &errors, &mut violations);
    violations.sort_by(|a, b| a.pointer.cmp(&b.pointer));
    Err(violations)
}

fn collect(base: &str, errors: &ValidationErrors, into: &mut Vec<Violation>) {
    for (field, kind) in errors.errors() {
        let mut pointer = base.to_owned();
        push(&mut pointer, field);
        match kind {
            ValidationErrorsKind::Struct(inner) => collect(&pointer, inner, into),
            ValidationErrorsKind::List(items) => {
                for (index, inner) in items {
                    collect(&format!("{pointer}/{index}"), inner, into);
                }
            }
            ValidationErrorsKind::Field(broken) => into.extend(broken.iter().map(|error| {
                let reason = error.message.clone().unwrap_or_else(|| error.code.clone());
                Violation {
                    pointer: pointer.clone(),
                    reason: reason.into_owned(),
                }
            })),
        }
    }
}

fn broken(code: &'static str, message: &'static str) -> ValidationError {
    ValidationError::new(code).with_message(message.into())
}

/// Refuses control characters, which would forge lines in logs and fields in streams.
pub(super) fn no_control(text: &str) -> Result<(), ValidationError> {
    if text.chars().any(char::is_control) {
        return Err(broken("control", "must not contain control characters"));
    }
    Ok(())
}

/// Refuses texts of white space alone.
pub(super) fn not_blank(text: &str) -> Result<(), ValidationError> {
    if text.trim().is_empty() {
        return Err(broken("blank", "must not be blank"));
    }
    Ok(())
}

/// Refuses texts over the limit and U+0000, which PostgreSQL cannot hold.
pub(super) fn within_text_limit(text: &str) -> Result<(), ValidationError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(broken("length", "must have at most 32768 bytes of UTF-8"));
    }
    if text.contains('\0') {
        return Err(broken("nul", "must not contain U+0000"));
    }
    Ok(())
}
