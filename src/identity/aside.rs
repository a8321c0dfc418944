//! Work that takes a core for a while, aside from the threads that stream.

use tokio::sync::oneshot;

/// How far the system puts such work behind the rest: it gets a quarter of a core that another thread wants, and all of one that nobody
/// wants. Much further back, nobody could log in while the machine is busy with something else.
#[cfg(target_os = "linux")]
const NICE: i32 = 5;

/// Does the work on a thread of its own; how many there are is for the caller to bound. It goes on where nobody waits for it any more.
/// `None` if it panicked, or the system has no thread to give.
///
/// The runtime's own threads would do it at the priority of those that stream, and a thread that has given its priority up cannot take it
/// back: so it is none of theirs. Beside a quarter of a second of bcrypt, making one costs nothing.
pub(super) async fn compute<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, result) = oneshot::channel();
    let thread = std::thread::Builder::new().name("aside".to_owned());
    let thread = thread.spawn(move || {
        give_way();
        // Whoever asked may have left.
        let _ = done.send(work());
    });
    if let Err(error) = thread {
        tracing::warn!(%error, "there is no thread to compute on");
    }
    result.await.ok()
}

/// On Linux priorities are those of threads. It is a help, not a need.
#[cfg(target_os = "linux")]
fn give_way() {
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "cannot lower a thread's priority");
    }
}

#[cfg(not(target_os = "linux"))]
fn give_way() {}

#[cfg(test)]
mod tests {
    use super::compute;

    #[tokio::test]
    async fn what_was_computed_comes_back_and_a_panic_does_not() {
        assert_eq!(compute(|| 7).await, Some(7));
        assert_eq!(compute(|| assert!(std::hint::black_box(false))).await, None);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn it_gives_way_to_all_other_threads() {
        let own = || rustix::process::getpriority_process(None).unwrap();
        let before = own();
        assert_eq!(compute(own).await, Some(before.max(super::NICE)));
        assert_eq!(own(), before);
    }
}
