//! What is fuzzed, and what counts as a failure.

mod bounded;
mod panics;
pub mod readers;

pub use bounded::Bounded;
pub use libfuzzer_sys;
pub use panics::report;

/// The target of a reader.
#[macro_export]
macro_rules! target {
    ($reader:ident) => {
        #[global_allocator]
        static MEMORY: $crate::Bounded = $crate::Bounded;

        $crate::libfuzzer_sys::fuzz_target!(
            init: std::panic::set_hook(Box::new($crate::report)),
            |bytes: &[u8]| {
                $crate::readers::$reader::read(bytes);
            }
        );
    };
}
