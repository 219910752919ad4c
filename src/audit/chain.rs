//! The chain: each sealed event's hash covers the one before it, so that none can be changed, moved or taken out
//! unnoticed.
//!
//! The hash of the event `seq` of an org is
//!
//! ```text
//! SHA-256( the 32 bytes of the hash of seq - 1, zeros where seq is 1
//!          followed by the event in canonical form, in UTF-8 )
//! ```
//!
//! where the event is the JSON object that `GET /api/v1/audit-events/{id}` answers, less its member `hash`, in the form
//! of RFC 8785: members in the order of their names' UTF-16 code units, no white space, numbers as ECMAScript writes
//! them. So an org can compute its chain again from what it reads. Whatever changes that form breaks every chain there is.

use super::event::AuditEvent;
use crate::error::{Error, Result};
use aws_lc_rs::digest;
use serde_json::{Number, Value};

/// What stands before the first event.
pub const GENESIS: [u8; 32] = [0; 32];

/// The hash of `event`, which has its `seq`, after an event with the hash `previous`.
pub fn hash(previous: &[u8], event: &AuditEvent) -> Result<Vec<u8>> {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(previous);
    context.update(form(event)?.as_bytes());
    Ok(context.finish().as_ref().to_vec())
}

fn form(event: &AuditEvent) -> Result<String> {
    let mut event = serde_json::to_value(event).map_err(|error| Error::Internal(error.into()))?;
    if let Some(members) = event.as_object_mut() {
        members.remove("hash");
    }
    let mut form = String::new();
    write(&event, &mut form);
    Ok(form)
}

fn write(value: &Value, form: &mut String) {
    match value {
        Value::Number(it) => form.push_str(&number(it)),
        Value::Array(items) => list(form, ['[', ']'], items, write),
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_cached_key(|(name, _)| name.encode_utf16().collect::<Vec<_>>());
            list(form, ['{', '}'], members, |(name, value), form| {
                form.push_str(&Value::from(name.as_str()).to_string());
                form.push(':');
                write(value, form);
            });
        }
        // Escapes what RFC 8785 does, and in the same way.
        other => form.push_str(&other.to_string()),
    }
}

fn list<T>(
    form: &mut String,
    [open, close]: [char; 2],
    items: impl IntoIterator<Item = T>,
    write: impl Fn(T, &mut String),
) {
    form.push(open);
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            form.push(',');
        }
        write(item, form);
    }
    form.push(close);
}

/// As `Number.prototype.toString` of ECMA-262 does: the fewest digits that name this double.
fn number(number: &Number) -> String {
    const EXACT: u64 = 1 << 53;
    if let Some(whole) = number.as_i64().filter(|whole| whole.unsigned_abs() <= EXACT) {
        return whole.to_string();
    }
    let double = number.as_f64().unwrap_or_default();
    // Serde's digits are the fewest too, and of two that are as near the even ones, as RFC 8785 wants them.
    let text = Number::from_f64(double.abs()).map(|number| number.to_string()).unwrap_or_default();
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let significant = all.trim_start_matches('0');
    let digits = significant.trim_end_matches('0');
    if digits.is_empty() {
        return "0".to_owned();
    }
    let length = |text: &str| i32::try_from(text.len()).unwrap_or(i32::MAX);
    let count = length(digits);
    // Where the point stands among the digits.
    let point =
        exponent.parse::<i32>().unwrap_or_default() + length(whole) - (length(&all) - length(significant));
    let zeros = |many: i32| "0".repeat(usize::try_from(many).unwrap_or_default());
    let before = usize::try_from(point).unwrap_or_default().min(digits.len());
    let text = match point {
        1..=21 if count <= point => format!("{digits}{}", zeros(point - count)),
        1..=21 => format!("{}.{}", &digits[..before], &digits[before..]),
        -5..=0 => format!("0.{}{digits}", zeros(-point)),
        _ => {
            let fraction = if count > 1 { format!(".{}", &digits[1..]) } else { String::new() };
            format!("{}{fraction}e{:+}", &digits[..1], point - 1)
        }
    };
    if double < 0.0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::{super::event::hex, *};
    use crate::{
        ids::{AuditEventId, OrgId, UserId},
        refs::{ActorRef, TargetRef},
    };
    use serde_json::json;
    use time::macros::datetime;
    use uuid::uuid;

    fn canonical(value: &Value) -> String {
        let mut form = String::new();
        write(value, &mut form);
        form
    }

    /// Were this to change, every chain that was sealed before would be told broken.
    #[test]
    fn the_form_and_the_hash_of_an_event_are_these_for_ever() {
        let event = AuditEvent {
            id: AuditEventId::from_uuid(uuid!("01939a7e-5b3c-7cc1-9d40-3d0d5a3c1f01")),
            org: OrgId::from_uuid(uuid!("01939a7e-5b3c-7cc1-9d40-3d0d5a3c1f02")),
            at: datetime!(2026-11-25 08:10:58.120_5 UTC),
            actor: ActorRef {
                kind: "user".to_owned(),
                id: Some(UserId::from_uuid(uuid!("01939a7e-5b3c-7cc1-9d40-3d0d5a3c1f03")).to_string()),
            },
            action: "member.updated".to_owned(),
            target: TargetRef { kind: "tier".to_owned(), id: Some("free".to_owned()) },
            before: None,
            after: Some(json!({"roles": ["admin"], "name": "Zoë \"Z\"", "n": 1.0})),
            ip: Some("192.0.2.7".to_owned()),
            request_id: None,
            seq: Some(1),
            hash: None,
        };
        assert_eq!(
            form(&event).unwrap(),
            concat!(
                r#"{"action":"member.updated","actor":{"id":"usr_01jed7wpswfk0stg1x1nd3r7r3","type":"user"},"after":{"n":1,"name":"Zoë \"Z\"","roles":["admin"]}"#,
                r#","at":"2026-11-25T08:10:58.1205Z","before":null,"id":"aud_01jed7wpswfk0stg1x1nd3r7r1""#,
                r#","ip":"192.0.2.7","org":"org_01jed7wpswfk0stg1x1nd3r7r2","request_id":null,"seq":1,"target":{"id":"free","type":"tier"}}"#,
            )
        );
        assert_eq!(
            hex(&hash(&GENESIS, &event).unwrap()),
            "1aa7b5177842430d5642201f64d265a4720811db14d84423ab4e67cb67d6d5c2"
        );
        assert_ne!(hash(&GENESIS, &event).unwrap(), hash(&[1; 32], &event).unwrap());
    }

    /// The samples of RFC 8785, section 3.2.2 and appendix B.
    #[test]
    fn the_form_is_that_of_rfc_8785() {
        let sample = serde_json::from_str(
            r#"{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
                "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false]}"#,
        )
        .unwrap();
        assert_eq!(
            canonical(&sample),
            "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
             \"string\":\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}"
        );
        let names =
            json!({"\u{20ac}": 1, "\r": 2, "\u{fb33}": 3, "1": 4, "\u{1f600}": 5, "\u{80}": 6, "\u{f6}": 7});
        assert_eq!(
            canonical(&names),
            "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"\u{f6}\":7,\"\u{20ac}\":1,\"\u{1f600}\":5,\"\u{fb33}\":3}"
        );
        for (bits, text) in [
            (0x0000_0000_0000_0000_u64, "0"),
            (0x8000_0000_0000_0000, "0"),
            (0x0000_0000_0000_0001, "5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
            (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
        ] {
            assert_eq!(canonical(&json!(f64::from_bits(bits))), text);
        }
        assert_eq!(
            canonical(&json!([1_i64 << 53, -7, u64::MAX])),
            "[9007199254740992,-7,18446744073709552000]"
        );
    }
}
