//! The schema of a body, as the API's document has it, and what it says of a value.

use serde_json::{Map, Value};
use utoipa::ToSchema;

/// The schema of a body with those that it refers to.
pub(super) struct BodySchema {
    root: Value,
    parts: Map<String, Value>,
}

impl BodySchema {
    pub(super) fn of<T: ToSchema>() -> Self {
        let mut parts = vec![];
        T::schemas(&mut parts);
        let parts = parts.into_iter();
        let parts = parts.filter_map(|(name, part)| Some((name, serde_json::to_value(part).ok()?)));
        Self {
            root: serde_json::to_value(T::schema()).unwrap_or_default(),
            parts: parts.collect(),
        }
    }

    /// The names of all fields.
    pub(super) fn fields(&self) -> impl Iterator<Item = &str> {
        let fields = self.root["properties"].as_object();
        fields.into_iter().flatten().map(|(name, _)| name.as_str())
    }

    /// The schema of a field.
    pub(super) fn field(&self, name: &str) -> Option<&Value> {
        self.root["properties"].get(name)
    }

    /// Whether fields of other names are refused.
    pub(super) fn is_closed(&self) -> bool {
        self.root["additionalProperties"] == false
    }

    /// The fields that must be there.
    pub(super) fn required(&self) -> impl Iterator<Item = &str> {
        let names = self.root["required"].as_array().into_iter().flatten();
        names.filter_map(Value::as_str)
    }

    /// The value of a field that is a text of a form, where all values are texts.
    pub(super) fn value_of(&self, name: &str, text: &str) -> Value {
        let as_text = Value::from(text);
        let Some(schema) = self
            .field(name)
            .filter(|schema| !self.fits(schema, &as_text))
        else {
            return as_text;
        };
        let parsed = serde_json::from_str(&text.trim().to_lowercase());
        let parsed = parsed.ok().filter(|value| self.fits(schema, value));
        parsed.unwrap_or(as_text)
    }

    /// Whether a value fits a schema, null apart.
    pub(super) fn fits(&self, schema: &Value, value: &Value) -> bool {
        if let Some(part) = self.referred(schema) {
            return self.fits(part, value);
        }
        if let Some(choices) = choices(schema) {
            return choices.iter().any(|choice| self.fits(choice, value));
        }
        let within = |number: f64| {
            let least = schema["minimum"].as_f64().unwrap_or(f64::NEG_INFINITY);
            let most = schema["maximum"].as_f64().unwrap_or(f64::INFINITY);
            (least..=most).contains(&number)
        };
        let types = types(schema);
        types.is_empty()
            || types.iter().any(|kind| match *kind {
                "integer" if value.is_f64() => false,
                "integer" | "number" => value.as_f64().is_some_and(within),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "array" => {
                    let each = |item| self.fits(&schema["items"], item);
                    value.as_array().is_some_and(|items| items.iter().all(each))
                }
                "object" => value.is_object(),
                _ => value.is_null(),
            })
    }

    /// What a value must be, in words.
    pub(super) fn words(&self, schema: &Value) -> String {
        if let Some(part) = self.referred(schema) {
            return self.words(part);
        }
        if let Some(choices) = choices(schema) {
            let mut words: Vec<String> = choices.iter().map(|choice| self.words(choice)).collect();
            words.retain(|words| !words.is_empty());
            words.dedup();
            return words.join(" or ");
        }
        let kinds = types(schema).into_iter().map(|kind| match kind {
            "integer" => match (schema["minimum"].as_f64(), schema["maximum"].as_f64()) {
                (Some(least), Some(most)) => format!("a whole number from {least} to {most}"),
                (Some(least), None) => format!("a whole number of at least {least}"),
                _ => "a whole number".into(),
            },
            "number" => "a number".into(),
            "string" => "a text".into(),
            "boolean" => "true or false".into(),
            "array" => "a list with one for each image".into(),
            "object" => "an object".into(),
            _ => String::new(),
        });
        let kinds: Vec<String> = kinds.filter(|kind| !kind.is_empty()).collect();
        kinds.join(" or ")
    }

    fn referred(&self, schema: &Value) -> Option<&Value> {
        let path = schema.get("$ref")?.as_str()?;
        self.parts.get(path.rsplit('/').next()?)
    }
}

fn choices(schema: &Value) -> Option<&Vec<Value>> {
    let of = |name: &str| schema.get(name)?.as_array();
    of("oneOf").or_else(|| of("anyOf"))
}

fn types(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    }
}
