//! Text and images as parts of a page.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Text escaped for HTML and SVG, inside elements and inside quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A PNG file as a data URI.
pub(super) fn data_uri(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(png))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_markup_is_text() {
        let text = r#"<b a="1" c='2'>T-shirt & "top"</b>"#;
        let escaped =
            "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;T-shirt &amp; &quot;top&quot;&lt;/b&gt;";
        assert_eq!(escape(text), escaped);
        assert_eq!(escape("für 4 Schritte"), "für 4 Schritte");
    }

    #[test]
    fn an_image_is_embedded_whole() {
        assert_eq!(data_uri(b"\x89PNG"), "data:image/png;base64,iVBORw==");
    }
}
