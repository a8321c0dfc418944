//! The frames of a provider's body: those that the standard has, wherever the body is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use parley::{conversation::FailureCode, providers::fuzzing::frames};
use parley_fuzz::{events, pieces, run};

fuzz_target!(|input: &[u8]| {
    let [number, body @ ..] = input else { return };
    let (whole, failure) = run(frames(&[body]));
    let (cut, failure_when_cut) = run(frames(&pieces(body, *number)));
    let code = |failure: &Option<_>| {
        failure
            .as_ref()
            .map(|failure: &parley::conversation::AttemptFailure| failure.failure.code)
    };
    assert_eq!(code(&failure), code(&failure_when_cut));
    assert_eq!(whole, cut);
    match std::str::from_utf8(body) {
        Ok(text) if failure.is_none() => assert_eq!(whole, events(text)),
        // Nothing but what is no text may fail.
        Ok(text) => panic!("{failure:?}: {text:?}"),
        Err(_) => assert!(matches!(
            code(&failure),
            None | Some(FailureCode::Malformed)
        )),
    }
});
