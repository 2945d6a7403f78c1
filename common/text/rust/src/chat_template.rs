//! Chat templates with the semantics of `transformers`' `render_jinja_template`: trim_blocks,
//! lstrip_blocks, loop controls, Python methods on values, Python spelling of True/False/None,
//! `raise_exception`, `strftime_now` and a `tojson` that does not escape for HTML.

use std::fmt::Write as _;
use std::io;

use chrono::DateTime;
use minijinja::value::{Kwargs, Rest, StringInput, Value, ValueKind};
use minijinja::{filters, Environment, Error, ErrorKind, Output, State};
use minijinja_contrib::pycompat;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

const NAME: &str = "chat_template";

/// Instructions one rendering may take: hundreds of times what long conversations need, and an
/// end for a template that loops.
const FUEL: u64 = 20_000_000;

/// Blanks or digits that one padding or indentation may take: a template must not allocate what a
/// number in it says.
const MAX_WIDTH: usize = 10_000;

/// Name of the context entry that `strftime_now` reads.
const NOW: &str = "__now_unix_seconds";

pub struct ChatTemplate {
    environment: Environment<'static>,
}

impl ChatTemplate {
    pub fn compile(source: &str) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(FUEL));
        environment.set_formatter(format_like_python);
        environment.set_unknown_method_callback(python_method);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", to_json);
        environment.add_filter("format", format_bounded);
        environment.add_filter("indent", indent_bounded);
        environment
            .add_template_owned(NAME, without_generation_tags(source))
            .map_err(|e| describe(&e))?;
        Ok(Self { environment })
    }

    pub fn render(&self, context_json: &[u8], now_unix_seconds: i64) -> Result<String, String> {
        let mut context: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(context_json).map_err(|e| format!("context: {e}"))?;
        context.insert(NOW.to_string(), now_unix_seconds.into());
        let template = self
            .environment
            .get_template(NAME)
            .map_err(|e| describe(&e))?;
        template
            .render(Value::from_serialize(&context))
            .map_err(|e| describe(&e))
    }
}

/// One line: kind, detail, line of the template, and causes.
fn describe(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text.replace('\n', " ")
}

/// `{% generation %}` only marks the assistant's part for training masks; it has no effect on the
/// text and is no tag that minijinja knows. A true condition keeps its whitespace control.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(open) = rest.find("{%") {
        let (before, tag) = rest.split_at(open);
        out.push_str(before);
        let Some(close) = tag.find("%}") else {
            rest = tag;
            break;
        };
        let (tag, after) = tag.split_at(close + 2);
        let word = tag[2..close]
            .trim_start_matches(['-', '+'])
            .trim_end_matches('-')
            .trim();
        match word {
            "generation" => out.push_str(&tag.replacen("generation", "if true", 1)),
            "endgeneration" => out.push_str(&tag.replacen("endgeneration", "endif", 1)),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

fn format_like_python(out: &mut Output, state: &State, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None | ValueKind::Bool | ValueKind::Seq | ValueKind::Map => {
            let mut text = String::new();
            write_repr(&mut text, value)?;
            out.write_str(&text).map_err(Error::from)
        }
        _ => minijinja::escape_formatter(out, state, value),
    }
}

/// Python's `repr` of what JSON can hold. Depth is bounded by the JSON parser of the context.
fn write_repr(out: &mut String, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::String => write_string_repr(out, value.as_str().unwrap_or_default()),
        ValueKind::Seq => {
            out.push('[');
            for (i, item) in value.try_iter()?.enumerate() {
                out.push_str(if i == 0 { "" } else { ", " });
                write_repr(out, &item)?;
            }
            out.push(']');
        }
        ValueKind::Map => {
            out.push('{');
            for (i, key) in value.try_iter()?.enumerate() {
                out.push_str(if i == 0 { "" } else { ", " });
                write_repr(out, &key)?;
                out.push_str(": ");
                write_repr(out, &value.get_item(&key)?)?;
            }
            out.push('}');
        }
        _ => out.push_str(&value.to_string()),
    }
    Ok(())
}

fn write_string_repr(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push(quote);
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(
        ErrorKind::InvalidOperation,
        format!("the template refuses this conversation: {message}"),
    ))
}

fn check_width(width: Option<usize>) -> Result<(), Error> {
    match width {
        Some(width) if width <= MAX_WIDTH => Ok(()),
        _ => Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("a width above {MAX_WIDTH}"),
        )),
    }
}

/// Widths and precisions are the numbers in a format.
fn check_format(format: &Value) -> Result<(), Error> {
    let text = format.as_str().unwrap_or_default();
    text.split(|c: char| !c.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .try_for_each(|digits| check_width(digits.parse().ok()))
}

fn format_bounded(state: &State, format: &Value, args: Rest<Value>) -> Result<Value, Error> {
    check_format(format)?;
    filters::format(state, format, args)
}

fn python_method(
    state: &State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    if method == "format" {
        check_format(value)?;
    }
    pycompat::unknown_method_callback(state, value, method, args)
}

fn indent_bounded(
    value: StringInput<'_>,
    width: Option<usize>,
    first: Option<bool>,
    blank: Option<bool>,
    options: Kwargs,
) -> Result<Value, Error> {
    let width = match width {
        Some(width) => Some(width),
        None => options.get("width")?,
    };
    check_width(Some(width.unwrap_or(0)))?;
    filters::indent(value, width, first, blank, options)
}

fn strftime_now(state: &State, format: String) -> Result<String, Error> {
    let seconds = state.lookup(NOW).and_then(|v| v.as_i64()).unwrap_or(0);
    let invalid = |what: String| Error::new(ErrorKind::InvalidOperation, what);
    let now = DateTime::from_timestamp(seconds, 0)
        .ok_or_else(|| invalid(format!("strftime_now: time {seconds} is out of range")))?;
    let mut text = String::new();
    write!(text, "{}", now.format(&format))
        .map_err(|_| invalid(format!("strftime_now: unknown format '{format}'")))?;
    Ok(text)
}

/// `json.dumps` puts a blank after ',' and ':' where nothing is indented.
struct PythonFormatter;

impl Formatter for PythonFormatter {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        w: &mut W,
        first: bool,
    ) -> io::Result<()> {
        w.write_all(if first { b"" } else { b", " })
    }
    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        w: &mut W,
        first: bool,
    ) -> io::Result<()> {
        w.write_all(if first { b"" } else { b", " })
    }
    fn begin_object_value<W: ?Sized + io::Write>(&mut self, w: &mut W) -> io::Result<()> {
        w.write_all(b": ")
    }
}

fn to_json(value: Value, indent: Option<usize>, options: Kwargs) -> Result<Value, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => options.get::<Option<usize>>("indent")?,
    };
    let sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    let _ = options.get::<Option<bool>>("ensure_ascii")?;
    options.assert_all_used()?;

    let failed = |e: serde_json::Error| {
        Error::new(ErrorKind::InvalidOperation, "cannot write as JSON").with_source(e)
    };
    let mut json = serde_json::to_value(&value).map_err(failed)?;
    if sort_keys {
        json.sort_all_objects();
    }
    let mut out = Vec::new();
    match indent {
        Some(width) => {
            let blanks = " ".repeat(width.min(64));
            let formatter = PrettyFormatter::with_indent(blanks.as_bytes());
            serde::Serialize::serialize(&json, &mut Serializer::with_formatter(&mut out, formatter))
        }
        None => serde::Serialize::serialize(
            &json,
            &mut Serializer::with_formatter(&mut out, PythonFormatter),
        ),
    }
    .map_err(failed)?;
    let text = String::from_utf8(out)
        .map_err(|e| Error::new(ErrorKind::InvalidOperation, e.to_string()))?;
    Ok(Value::from_safe_string(text))
}
