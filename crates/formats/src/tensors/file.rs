//! The header of a safetensors file.

use crate::FormatError;
use safetensors::View;
use serde_json::{Map, json};
use std::collections::BTreeMap;
use std::io;

/// Texts in the metadata of a file.
pub(crate) type Entries = BTreeMap<String, String>;

/// Writes a safetensors file of these tensors, one after the other: each is in memory while it is
/// written, and no longer. The same tensors and entries give the same bytes.
pub(crate) fn write<V: View>(
    tensors: BTreeMap<String, V>,
    entries: &Entries,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let mut tensors: Vec<(String, V)> = tensors.into_iter().collect();
    // The largest numbers first: then each starts at a multiple of its size.
    tensors.sort_by_key(|(_, tensor)| std::cmp::Reverse(tensor.dtype().bitsize()));
    let mut fields = Map::new();
    fields.insert("__metadata__".into(), json!(entries));
    let mut start = 0;
    for (name, tensor) in &tensors {
        let end = start + tensor.data_len();
        let (dtype, shape) = (tensor.dtype(), tensor.shape());
        fields.insert(
            name.clone(),
            json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] }),
        );
        start = end;
    }
    let mut text = serde_json::to_vec(&fields)?;
    // Tensors start at a multiple of eight bytes.
    text.resize(text.len().next_multiple_of(8), b' ');
    out.write_all(&(text.len() as u64).to_le_bytes())?;
    out.write_all(&text)?;
    for (_, tensor) in tensors {
        out.write_all(&tensor.data())?;
    }
    Ok(())
}

/// The same in memory.
pub(crate) fn to_bytes<V: View>(
    tensors: BTreeMap<String, V>,
    entries: &Entries,
) -> Result<Vec<u8>, FormatError> {
    let mut bytes = vec![];
    write(tensors, entries, &mut bytes).map_err(|error| FormatError::NotSafetensors {
        origin: "the model in memory".into(),
        reason: error.to_string(),
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::{Dtype, SafeTensors, TensorView};

    #[test]
    fn the_same_model_gives_the_same_bytes() {
        let data: Vec<u8> = (0..24).collect();
        let entries: Entries = (0..20)
            .map(|i| (format!("key {i}"), format!("\"{i}\"")))
            .collect();
        let file = || {
            let view = TensorView::new(Dtype::F32, vec![2, 3], &data).expect("24 bytes");
            let tensors = BTreeMap::from([("a".to_string(), view.clone()), ("b".into(), view)]);
            to_bytes(tensors, &entries).expect("a file")
        };
        assert!((0..10).all(|_| file() == file()));
        let file = file();
        let (length, header) = SafeTensors::read_metadata(&file).expect("a header");
        assert_eq!(length % 8, 0);
        let read: Entries = header
            .metadata()
            .clone()
            .expect("entries")
            .into_iter()
            .collect();
        assert_eq!(read, entries);
        let read = SafeTensors::deserialize(&file).expect("whole");
        assert!(
            ["a", "b"]
                .iter()
                .all(|name| read.tensor(name).expect("there").data() == data)
        );
    }

    #[test]
    fn small_numbers_come_last_and_all_are_found() {
        let (wide, half): (Vec<u8>, Vec<u8>) = ((0..8).collect(), (8..14).collect());
        let view = |dtype, shape, data| TensorView::new(dtype, shape, data).expect("whole");
        let tensors = BTreeMap::from([
            ("a".to_string(), view(Dtype::F16, vec![3], &half)),
            ("b".into(), view(Dtype::F32, vec![2, 1], &wide)),
        ]);
        let file = to_bytes(tensors, &Entries::new()).expect("a file");
        let read = SafeTensors::deserialize(&file).expect("whole");
        let of = |name| read.tensor(name).expect("there");
        assert_eq!((of("a").dtype(), of("a").data()), (Dtype::F16, &half[..]));
        assert_eq!((of("b").shape(), of("b").data()), (&[2, 1][..], &wide[..]));
        assert!(file.ends_with(&half));
    }
}
