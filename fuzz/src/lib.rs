//! What the targets have in common. Each target asserts what must hold of any input; that nothing panics is only a part of it.

use std::{cell::RefCell, future::Future};

/// Carries out what waits for nothing.
pub fn run<T>(work: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: RefCell<tokio::runtime::Runtime> = RefCell::new(
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
        );
    }
    RUNTIME.with_borrow(|runtime| runtime.block_on(work))
}

/// The bytes cut in at most eight places, which the number names; 0: each of the first bytes by itself.
pub fn pieces(bytes: &[u8], number: u8) -> Vec<&[u8]> {
    let mut state = u32::from(number);
    let mut cuts: Vec<usize> = (1..=8)
        .map(|place| {
            // A linear congruential generator: the same number cuts in the same places.
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let drawn = (state >> 16) as usize % (bytes.len() + 1);
            if number == 0 {
                place.min(bytes.len())
            } else {
                drawn
            }
        })
        .chain([0, bytes.len()])
        .collect();
    cuts.sort_unstable();
    cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect()
}

/// The data of the events in a stream, as the standard has them read
/// (<https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>).
pub fn events(text: &str) -> Vec<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut events, mut data, mut rest) = (Vec::new(), None::<String>, text);
    // A line that nothing ends is none.
    while let Some(at) = rest.find(['\r', '\n']) {
        let (line, after) = rest.split_at(at);
        rest = after.strip_prefix("\r\n").unwrap_or(&after[1..]);
        if line.is_empty() {
            events.extend(data.take());
            continue;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        if name == "data" {
            let value = value.strip_prefix(' ').unwrap_or(value);
            match &mut data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => data = Some(value.to_owned()),
            }
        }
    }
    events
}
