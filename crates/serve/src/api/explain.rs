//! Why the fields of a body cannot be read, in plain words: from the schema of the body, since the
//! words of the parser are about types of the program.

use super::schema::BodySchema;
use crate::error::ApiError;
use fewstep_formats::nearest;
use serde_json::Value;
use utoipa::ToSchema;

/// Bytes of a value that a message repeats.
const SHOWN: usize = 60;

/// Why these fields are not those of a body.
pub(super) fn explain<T: ToSchema>(fields: &Value) -> ApiError {
    let schema = BodySchema::of::<T>();
    let given = fields.as_object().into_iter().flatten();
    for (name, value) in given {
        match schema.field(name) {
            None if schema.is_closed() => return unknown(name, &schema),
            Some(known) if !value.is_null() && !schema.fits(known, value) => {
                let message = format!(
                    "`{name}` must be {}, not {}",
                    schema.words(known),
                    short(&value.to_string())
                );
                return ApiError::field(name, message);
            }
            _ => {}
        }
    }
    let is_missing = |name: &&str| fields.get(*name).is_none_or(Value::is_null);
    match schema.required().find(is_missing) {
        Some(name) => ApiError::field(name, format!("the field `{name}` is missing")),
        None => ApiError::bad("the body cannot be read: a number in it is too large"),
    }
}

/// A field that there is not; names the nearest.
fn unknown(name: &str, schema: &BodySchema) -> ApiError {
    let more = match nearest(name, schema.fields()) {
        Some(field) => format!("did you mean `{field}`?"),
        None => {
            let fields: Vec<&str> = schema.fields().collect();
            format!("the fields are {}", fields.join(", "))
        }
    };
    ApiError::field(name, format!("there is no field `{}`: {more}", short(name)))
}

fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into(),
    }
}
