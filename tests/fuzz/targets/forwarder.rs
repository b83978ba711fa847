//! Whatever comes in, whenever, and however the pools change meanwhile: the laws of a forwarder hold.
//! The steps and the laws are those of lb-l4's test `walk`; eight bytes are a step.
#![no_main]

#[path = "../../../lb-l4/tests/walk/law/mod.rs"]
mod law;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let (steps, _) = input.as_chunks::<8>();
    // A walk of so many steps reaches what there is to reach, at a speed that finds something.
    law::walk(&steps[..steps.len().min(300)]);
});
