//! Files that PyTorch wrote (tools/golden/pickles.py).

use super::to_safetensors;
use safetensors::SafeTensors;

fn golden(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/pickles");
    std::fs::read(format!("{folder}/{name}")).expect("a committed file")
}

#[test]
fn tensors_are_those_of_pytorch_bit_for_bit() {
    for (name, expected) in [
        ("tensors", "tensors"),
        ("checkpoint", "checkpoint"),
        // Of PyTorch before 1.6.
        ("legacy", "tensors"),
        // With values of classes that are not known: callbacks, settings, numbers of numpy.
        ("training", "checkpoint"),
    ] {
        let ours = to_safetensors(&golden(&format!("{name}.pt"))).expect("tensors");
        let theirs = golden(&format!("{expected}.safetensors"));
        let [ours, theirs] =
            [&ours, &theirs].map(|bytes| SafeTensors::deserialize(bytes).expect("a file"));
        assert_eq!(ours.len(), theirs.len(), "{name}");
        for (tensor, expected) in theirs.tensors() {
            let found = ours.tensor(&tensor);
            let found = found.unwrap_or_else(|_| panic!("`{tensor}` is missing"));
            assert_eq!(found.dtype(), expected.dtype(), "{tensor}");
            assert_eq!(found.shape(), expected.shape(), "{tensor}");
            assert_eq!(found.data(), expected.data(), "{tensor}");
        }
    }
}

#[test]
fn what_a_pickle_would_run_is_named() {
    for (file, said) in [
        ("system.pt", "`posix.system`"),
        ("eval.pt", "`builtins.eval`"),
    ] {
        let reason = to_safetensors(&golden(file)).expect_err("refused");
        assert!(reason.contains(said), "{file}: {reason}");
    }
}

/// No file makes the reader panic, or read what is not there.
#[test]
fn damaged_files_are_refused_or_read() {
    for name in ["checkpoint.pt", "training.pt", "short_legacy.pt"] {
        let whole = golden(name);
        for length in 0..whole.len() {
            assert!(to_safetensors(&whole[..length]).is_err(), "{length} bytes");
        }
        for at in 0..whole.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= change;
                if let Ok(read) = to_safetensors(&bytes) {
                    SafeTensors::deserialize(&read).expect("a file");
                }
            }
        }
    }
}
