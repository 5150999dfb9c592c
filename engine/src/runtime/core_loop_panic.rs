//! Catching the panics of user code at the border of the core loop.
//!
//! Build, run and drop of a task each pass through [`caught`]. A panic fails the task and so its job; it never unwinds
//! through a shell (glommio 0.9 aborts the process or poisons its executors when a panic crosses it).
//!
//! What cannot be caught: a program built with `panic = "abort"`, and a panic that leaves a destructor while another
//! panic is unwinding: Rust aborts the process then, as everywhere else.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `code`; a panic comes back as the text of its payload.
///
/// The caller must not look again at anything `code` may have left half done, but drop it.
pub(crate) fn caught<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(code)).map_err(payload_text)
}

fn payload_text(payload: Box<dyn Any + Send>) -> String {
    let payload = match payload.downcast::<String>() {
        Ok(text) => return *text,
        Err(payload) => payload,
    };
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        return (*text).to_owned();
    }
    // A payload of an unknown type (`panic_any`) may panic in its own destructor, outside of any guard. It is leaked:
    // a few bytes for each panic of a kind nobody writes.
    std::mem::forget(payload);
    "a panic whose payload is not a text".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }

    #[test]
    fn payloads_become_texts() {
        assert_eq!(caught(|| 3), Ok(3));
        assert_eq!(caught::<()>(|| panic!("plain")), Err("plain".to_owned()));
        assert_eq!(caught::<()>(|| panic!("with {}", 7)), Err("with 7".to_owned()));
        let text = "a panic whose payload is not a text".to_owned();
        assert_eq!(caught::<()>(|| std::panic::panic_any(Bomb)), Err(text));
    }
}
