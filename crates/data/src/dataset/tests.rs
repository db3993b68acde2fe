use super::*;

fn shape(channels: usize, height: usize, width: usize) -> ImageShape {
    ImageShape {
        channels,
        height,
        width,
    }
}

fn four() -> Dataset {
    let pixels = (0..8).collect();
    Dataset::from_parts(
        "four",
        shape(1, 1, 2),
        pixels,
        Some(vec![0, 1, 2, 0]),
        Vec::new(),
    )
    .unwrap()
}

#[test]
fn images_and_labels_are_found() {
    let set = four();
    assert_eq!(
        (set.len(), set.pixels(2), set.label(2)),
        (4, &[4, 5][..], Some(2))
    );
    assert_eq!(set.classes, ["0", "1", "2"]);
    assert_eq!(
        set.image(3),
        Image {
            shape: set.shape,
            pixels: vec![6, 7]
        }
    );
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let make = |pixels: usize, labels: Option<Vec<u32>>, channels| {
        Dataset::from_parts(
            "x",
            shape(channels, 1, 2),
            vec![0; pixels],
            labels,
            vec!["a".into()],
        )
    };
    assert!(matches!(make(0, None, 1), Err(DataError::Empty { .. })));
    assert!(matches!(make(3, None, 1), Err(DataError::Length { .. })));
    assert!(matches!(make(4, None, 2), Err(DataError::Config { .. })));
    assert!(matches!(
        make(4, Some(vec![0]), 1),
        Err(DataError::Count {
            images: 2,
            labels: 1,
            ..
        })
    ));
    let error = make(4, Some(vec![0, 1]), 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "x, record 1: label 1 is out of range: expected 0 to 0 (1 classes); correct the labels or the class names"
    );
}

#[test]
fn the_fingerprint_sees_every_part() {
    let set = four();
    let other_pixels = Dataset {
        pixels: vec![0; 8],
        ..four()
    };
    let other_labels = Dataset {
        labels: Some(vec![0; 4]),
        ..four()
    };
    let unlabelled = Dataset {
        labels: None,
        ..four()
    };
    let other_shape = Dataset {
        shape: shape(1, 2, 1),
        ..four()
    };
    assert_eq!(
        set.fingerprint(),
        Dataset {
            name: "other".into(),
            ..four()
        }
        .fingerprint()
    );
    assert_eq!(set.fingerprint().len(), 16);
    for other in [other_pixels, other_labels, unlabelled, other_shape] {
        assert_ne!(set.fingerprint(), other.fingerprint());
    }
}

#[test]
fn parts_of_a_set() {
    let part = four().subset(1..3);
    assert_eq!(
        (part.len(), part.pixels(0), part.label(1)),
        (2, &[2, 3][..], Some(2))
    );
    assert!(four().subset(9..10).is_empty());
    assert_eq!(four().subset(2..99).len(), 2);
    assert_eq!(four().limit(2), four().select([0, 2]));
    assert_eq!(four().limit(9), four());
    assert_eq!(spread(10, 3).collect::<Vec<_>>(), [0, 3, 6]);
    assert_eq!(spread(3, 10).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn class_names_must_cover_the_classes() {
    let names = |count| vec!["name".to_owned(); count];
    assert_eq!(
        four().with_class_names(&names(3)).unwrap().classes,
        names(3)
    );
    // Numbered classes may be fewer than the names, named ones not.
    let named = four().with_class_names(&names(5)).unwrap();
    assert!(matches!(
        named.with_class_names(&names(6)),
        Err(DataError::Config { .. })
    ));
    assert!(matches!(
        four().with_class_names(&names(2)),
        Err(DataError::Config { .. })
    ));
}

#[test]
fn images_change_size_and_channels() {
    let set = four().pad_to(4).unwrap();
    assert_eq!(set.shape, shape(1, 4, 4));
    assert_eq!(set.pixels(1)[5..7], [2, 3]);
    assert_eq!(set.label(2), Some(2));
    assert_eq!(set.clone().with_channels(3).unwrap().pixels(1).len(), 48);
    assert_eq!(set.clone().resize_to(2).unwrap().shape, shape(1, 2, 2));
    assert_eq!(
        set.clone().pad_to(3).unwrap(),
        set.clone().resize_to(3).unwrap()
    );
    assert!(matches!(
        set.clone().pad_to(0),
        Err(DataError::Config { .. })
    ));
    assert!(matches!(
        set.clone().resize_to(0),
        Err(DataError::Config { .. })
    ));
    assert!(matches!(
        set.with_channels(4),
        Err(DataError::Config { .. })
    ));
}
