//! The text in a PNG file that says how the image was made.

use fewstep_data::ImageShape;
use fewstep_data::image::{Image, encode_png, parameters, with_parameters};

pub fn read(bytes: &[u8]) -> bool {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let shape = ImageShape {
            channels: 1,
            height: 1,
            width: 1,
        };
        let png = encode_png(&Image::filled(shape, 0)).expect("an image");
        let read = parameters(&with_parameters(&png, text));
        assert_eq!(read.as_deref(), Some(text), "what was written comes back");
    }
    parameters(bytes).is_some()
}
