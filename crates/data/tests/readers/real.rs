//! The official files themselves. Runs only where the environment variable `FEWSTEP_DATA` names a
//! folder with `fashion-mnist`, `mnist` and `cifar10` in it; passes without a check elsewhere.

use crate::config;
use fewstep_data::{DataConfig, DataKind, Split, load};
use std::path::PathBuf;

#[test]
fn the_official_sets_if_fewstep_data_is_set() {
    let Some(root) = std::env::var_os("FEWSTEP_DATA").map(PathBuf::from) else {
        return;
    };
    for (kind, name, third_class) in [
        (DataKind::FashionMnist, "fashion-mnist", "Dress"),
        (DataKind::Mnist, "mnist", "3"),
        (DataKind::Cifar10, "cifar10", "cat"),
    ] {
        let train_length = if kind == DataKind::Cifar10 {
            50_000
        } else {
            60_000
        };
        let train = DataConfig {
            size: Some(32),
            ..config(kind, &root.join(name))
        };
        let test = DataConfig {
            split: Split::Test,
            ..train.clone()
        };
        for (config, length) in [(train, train_length), (test, 10_000)] {
            let set = load(&config).unwrap();
            assert_eq!((set.len(), set.classes.len()), (length, 10));
            assert_eq!((set.shape.height, set.shape.width), (32, 32));
            assert_eq!(set.classes[3], third_class);
            let mut counts = [0; 10];
            set.labels()
                .unwrap()
                .iter()
                .for_each(|&label| counts[label as usize] += 1);
            if kind != DataKind::Mnist {
                assert_eq!(counts, [length / 10; 10]);
            }
        }
    }
}
