//! The header of a safetensors file.

use crate::FormatError;
use safetensors::View;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Texts in the metadata of a file.
pub(crate) type Entries = BTreeMap<String, String>;

/// A safetensors file of these tensors. The same tensors and entries give the same bytes.
pub(crate) fn serialize<V: View>(
    tensors: BTreeMap<String, V>,
    entries: &Entries,
) -> Result<Vec<u8>, FormatError> {
    let bytes = safetensors::serialize(tensors, None);
    with_metadata(bytes.map_err(in_memory)?, entries)
}

/// The same file with these entries alone as its metadata, in the order of their names. The usual writer takes them in
/// no fixed order.
pub(crate) fn with_metadata(mut file: Vec<u8>, entries: &Entries) -> Result<Vec<u8>, FormatError> {
    const LENGTH: usize = 8;
    let (length, _) = safetensors::SafeTensors::read_metadata(&file).map_err(in_memory)?;
    let header = LENGTH..LENGTH + length;
    let mut fields: Map<String, Value> =
        serde_json::from_slice(&file[header.clone()]).map_err(in_memory)?;
    let entries = entries.iter().map(|(k, v)| (k.clone(), v.as_str().into()));
    fields.insert("__metadata__".into(), Value::Object(entries.collect()));
    let mut text = serde_json::to_vec(&fields).map_err(in_memory)?;
    // Tensors start at a multiple of eight bytes.
    text.resize(text.len().next_multiple_of(LENGTH), b' ');
    let length = (text.len() as u64).to_le_bytes();
    file.splice(..header.end, length.into_iter().chain(text));
    Ok(file)
}

fn in_memory(error: impl std::fmt::Display) -> FormatError {
    FormatError::NotSafetensors {
        origin: "the model in memory".into(),
        reason: error.to_string(),
    }
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
            serialize(tensors, &entries).expect("a file")
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
        // What another writer put in is replaced.
        let other = [("other".to_string(), "entry".to_string())].into();
        let view = TensorView::new(Dtype::F32, vec![2, 3], &data).expect("24 bytes");
        let others = safetensors::serialize([("a", &view), ("b", &view)], Some(other));
        assert_eq!(
            with_metadata(others.expect("a file"), &entries).expect("a file"),
            file
        );
    }
}
