//! A mail as text and as HTML, from the same words.

use super::{
    Template,
    words::{Words, one_line},
};
use askama::Template as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

/// What a mail is made of.
pub struct Draft<'a> {
    pub template: Template,
    pub params: &'a Value,
    /// For its link.
    pub token: Option<&'a SecretString>,
    /// On whose behalf.
    pub org_name: Option<&'a str>,
}

/// A mail that can be read.
pub struct Rendered {
    pub subject: String,
    pub text: String,
    pub html: String,
    pub link: Option<String>,
    pub token: Option<String>,
}

struct Page<'a> {
    greeting: String,
    words: &'a Words,
    link: Option<&'a str>,
    token: &'a str,
    sender: &'a str,
}

#[derive(askama::Template)]
#[template(
    ext = "txt",
    source = r"{{ page.greeting }}

{% for sentence in page.words.sentences %}{{ sentence }}
{% endfor %}
{% if let (Some(action), Some(link)) = (page.words.action.as_ref(), page.link) -%}
{{ action.label }}:
{{ link }}

Or, for a program, the token:
{{ page.token }}

{{ action.note }}

{% endif -%}
-- 
{{ page.sender }}
"
)]
struct Text<'a> {
    page: &'a Page<'a>,
}

#[derive(askama::Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{{ page.words.subject }}</title></head>
<body style="margin: 2em auto; max-width: 34em; font: 16px/1.5 sans-serif; color: #222">
<p>{{ page.greeting }}</p>
{% for sentence in page.words.sentences %}<p>{{ sentence }}</p>
{% endfor -%}
{% if let (Some(action), Some(link)) = (page.words.action.as_ref(), page.link) -%}
<p><a href="{{ link }}" style="display: inline-block; padding: .6em 1.2em; background: #234; color: #fff; text-decoration: none">{{ action.label }}</a></p>
<p style="font-size: 14px; color: #666">{{ action.note }}</p>
<p style="font-size: 14px; color: #666; word-break: break-all">{{ link }}</p>
{% endif -%}
<p style="font-size: 14px; color: #666">{{ page.sender }}</p>
</body>
</html>
"#
)]
struct Html<'a> {
    page: &'a Page<'a>,
}

impl Draft<'_> {
    /// `product` is what the platform calls itself; links begin with `link_base`.
    pub fn render(&self, product: &str, link_base: &str) -> anyhow::Result<Rendered> {
        let words = Words::of(self.template, self.params, product);
        let token = self.token.map(|token| token.expose_secret().to_owned());
        // A token is spelt in letters that an address takes as they are.
        let link = words
            .action
            .as_ref()
            .zip(token.as_ref())
            .map(|(action, token)| format!("{link_base}/{}?token={token}", action.path));
        let greeting = match one_line(self.params["name"].as_str().unwrap_or_default()) {
            name if name.is_empty() => "Hello,".to_owned(),
            name => format!("Hello {name},"),
        };
        let sender = sender(self.org_name, product);
        let page = Page {
            greeting,
            words: &words,
            link: link.as_deref(),
            token: token.as_deref().unwrap_or_default(),
            sender: &sender,
        };
        let (text, html) = (Text { page: &page }.render()?, Html { page: &page }.render()?);
        Ok(Rendered { subject: words.subject, text, html, link, token })
    }
}

/// `Acme via Insula`
pub fn sender(org_name: Option<&str>, product: &str) -> String {
    match org_name.map(one_line) {
        Some(org) if !org.is_empty() => format!("{org} via {product}"),
        _ => product.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(template: Template, params: &Value, org_name: Option<&str>) -> Rendered {
        let token = SecretString::from("insula_mail_abc-DEF_123");
        Draft { template, params, token: Some(&token), org_name }
            .render("Insula", "https://app.example.com")
            .unwrap()
    }

    #[test]
    fn every_template_renders_as_text_and_as_html() {
        let params = json!({
            "name": "Ada", "new_email": "new@example.com", "minutes": 15, "org_name": "Acme", "invited_by": "Bob",
            "roles": ["admin", "viewer"],
        });
        for &template in Template::ALL {
            assert_eq!(Template::parse(template.as_str()), Some(template));
            let mail = render(template, &params, None);
            assert!(!mail.subject.is_empty());
            for body in [&mail.text, &mail.html] {
                assert!(body.contains("Hello Ada,"), "{template:?}: {body}");
                assert!(!body.contains("{{") && !body.contains("{%"), "{template:?}: {body}");
            }
            let linked = template.as_str().starts_with("confirm")
                || ["invitation", "verify_email", "reset_password"].contains(&template.as_str());
            assert_eq!(mail.link.is_some(), linked, "{template:?}");
            if let Some(link) = mail.link {
                assert!(mail.text.contains(&link) && mail.html.contains(&link), "{template:?}");
                assert!(mail.text.contains("\ninsula_mail_abc-DEF_123\n"), "{template:?}: the token alone");
            }
            // And with nothing at all.
            render(template, &json!({}), None);
        }
    }

    #[test]
    fn a_name_is_no_markup_no_header_and_no_line_of_its_own() {
        let params = json!({"name": "<b>Ada</b>\r\nBcc: all@example.com", "new_email": "a\"b@example.com"});
        let mail = render(Template::EmailChanged, &params, None);
        assert!(mail.html.contains("&#60;b&#62;Ada") || mail.html.contains("&lt;b&gt;Ada"), "{}", mail.html);
        assert!(!mail.html.contains("<b>"));
        assert!(mail.text.starts_with("Hello <b>Ada</b> Bcc: all@example.com,\n"), "{}", mail.text);

        let params = json!({"org_name": "Acme\r\nBcc: all@example.com\u{85}x"});
        let mail = render(Template::Invitation, &params, Some("Acme\nEvil: yes"));
        assert_eq!(mail.subject, "Your invitation to Acme Bcc: all@example.com x");
        assert!(mail.text.ends_with("-- \nAcme Evil: yes via Insula\n"), "{}", mail.text);
    }
}
