//! Arithmetic on stored numbers. Frozen: a log is replayed with it.
//!
//! `int` and `float` refuse overflow unless told to clamp; `u64` wraps on a plain sum, as Deno's `KvU64` does.
//!
//! `v8` sums are Deno's: a number is added to a number, a bigint to a bigint, nothing overflows, bounds hold for results and
//! not for the first value of an absent entry. A stored `float` is a number and a stored `int` a bigint, as Deno reads them;
//! they stay what they are while the result fits. A bigint without bounds may be added to a stored `u64`.

use crate::commit::NumberOp;
use crate::error::MutationError;
use crate::limits;
use crate::v8_number::V8Number;
use crate::value::{Value, ValueType};
use num_bigint::BigInt;

/// The bounds of an operation's result.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds<'a> {
    /// Lower bound, of the operand's type.
    pub at_least: Option<&'a Value>,
    /// Upper bound, of the operand's type.
    pub at_most: Option<&'a Value>,
    /// Take the bound instead of refusing.
    pub clamp: bool,
}

fn wrong(expected: &'static str, found: &Value) -> MutationError {
    MutationError::WrongType { expected, found: found.value_type.name() }
}

/// The result of `op` on the stored number (`None`: absent) and `operand`.
///
/// # Errors
/// [`MutationError`] if the types differ, the result overflows, or it leaves the bounds.
pub fn apply(
    op: NumberOp,
    stored: Option<&Value>,
    operand: &Value,
    bounds: Bounds<'_>,
) -> Result<Value, MutationError> {
    match operand.value_type {
        ValueType::Int => apply_int(op, stored, operand, bounds),
        ValueType::Float => apply_float(op, stored, operand, bounds),
        ValueType::U64 => apply_u64(op, stored, operand, bounds),
        ValueType::V8 if op == NumberOp::Sum => sum_v8(stored, operand, bounds),
        _ => Err(wrong("int, float or u64", operand)),
    }
}

fn get<T>(
    expected: &'static str,
    value: Option<&Value>,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Option<T>, MutationError> {
    value.map(|value| read(value).ok_or_else(|| wrong(expected, value))).transpose()
}

/// Holds `result` (`Err(true)`: overflowed upwards, `Err(false)`: downwards) against the bounds.
fn bounded<T: PartialOrd + Copy>(
    result: Result<T, bool>,
    (least, most): (Option<T>, Option<T>),
    (type_min, type_max): (T, T),
    clamp: bool,
) -> Result<T, MutationError> {
    let result = match result {
        Ok(result) => result,
        Err(_) if !clamp => return Err(MutationError::Overflow),
        Err(true) => type_max,
        Err(false) => type_min,
    };
    if let Some(least) = least
        && result < least
    {
        return if clamp { Ok(least) } else { Err(MutationError::OutOfBounds) };
    }
    if let Some(most) = most
        && result > most
    {
        return if clamp { Ok(most) } else { Err(MutationError::OutOfBounds) };
    }
    Ok(result)
}

fn apply_int(
    op: NumberOp,
    stored: Option<&Value>,
    operand: &Value,
    bounds: Bounds<'_>,
) -> Result<Value, MutationError> {
    let read = |value: Option<&Value>| get("int", value, Value::as_int);
    let operand = Value::as_int(operand).ok_or_else(|| wrong("int", operand))?;
    let result = match (op, read(stored)?) {
        (_, None) => Ok(operand),
        (NumberOp::Sum, Some(stored)) => stored.checked_add(operand).ok_or(operand > 0),
        (NumberOp::Min, Some(stored)) => Ok(stored.min(operand)),
        (NumberOp::Max, Some(stored)) => Ok(stored.max(operand)),
    };
    let limits = (read(bounds.at_least)?, read(bounds.at_most)?);
    bounded(result, limits, (i64::MIN, i64::MAX), bounds.clamp).map(Value::from)
}

fn apply_float(
    op: NumberOp,
    stored: Option<&Value>,
    operand: &Value,
    bounds: Bounds<'_>,
) -> Result<Value, MutationError> {
    let read = |value: Option<&Value>| get("float", value, Value::as_float);
    let operand = Value::as_float(operand).ok_or_else(|| wrong("float", operand))?;
    let result = match (op, read(stored)?) {
        (_, None) => operand,
        (NumberOp::Sum, Some(stored)) => stored + operand,
        (NumberOp::Min, Some(stored)) => stored.min(operand),
        (NumberOp::Max, Some(stored)) => stored.max(operand),
    };
    if result.is_nan() {
        return Err(MutationError::Overflow);
    }
    let result = if result.is_finite() { Ok(result) } else { Err(result > 0.0) };
    let limits = (read(bounds.at_least)?, read(bounds.at_most)?);
    bounded(result, limits, (f64::MIN, f64::MAX), bounds.clamp).map(Value::from)
}

fn apply_u64(
    op: NumberOp,
    stored: Option<&Value>,
    operand: &Value,
    bounds: Bounds<'_>,
) -> Result<Value, MutationError> {
    let read = |value: Option<&Value>| get("u64", value, Value::as_u64);
    let operand = Value::as_u64(operand).ok_or_else(|| wrong("u64", operand))?;
    let limits = (read(bounds.at_least)?, read(bounds.at_most)?);
    let wraps = !bounds.clamp && limits == (None, None);
    let result = match (op, read(stored)?) {
        (_, None) => Ok(operand),
        (NumberOp::Sum, Some(stored)) if wraps => Ok(stored.wrapping_add(operand)),
        (NumberOp::Sum, Some(stored)) => stored.checked_add(operand).ok_or(true),
        (NumberOp::Min, Some(stored)) => Ok(stored.min(operand)),
        (NumberOp::Max, Some(stored)) => Ok(stored.max(operand)),
    };
    bounded(result, limits, (u64::MIN, u64::MAX), bounds.clamp).map(Value::u64)
}

fn v8_number(value: &Value) -> Result<V8Number, MutationError> {
    let number = if value.value_type == ValueType::V8 { V8Number::decode(&value.data).ok() } else { None };
    number.ok_or_else(|| wrong("v8 number or bigint", value))
}

/// Holds a result against its bounds; NaN is within all of them, as JavaScript compares it.
fn within<T: PartialOrd>(
    result: T,
    least: Option<T>,
    most: Option<T>,
    clamp: bool,
) -> Result<T, MutationError> {
    if let Some(least) = least
        && result < least
    {
        return if clamp { Ok(least) } else { Err(MutationError::OutOfBounds) };
    }
    if let Some(most) = most
        && result > most
    {
        return if clamp { Ok(most) } else { Err(MutationError::OutOfBounds) };
    }
    Ok(result)
}

fn v8_value(number: V8Number) -> Result<Value, MutationError> {
    let data = number.encode();
    if data.len() > limits::VALUE_SIZE_BYTES_MAX {
        return Err(MutationError::Overflow);
    }
    Ok(Value::new(ValueType::V8, data))
}

fn sum_v8(stored: Option<&Value>, operand: &Value, bounds: Bounds<'_>) -> Result<Value, MutationError> {
    let added = v8_number(operand)?;
    let bound = |bound: Option<&Value>| {
        let Some(bound) = bound else { return Ok(None) };
        match (v8_number(bound)?, &added) {
            (number @ V8Number::Number(_), V8Number::Number(_))
            | (number @ V8Number::BigInt(_), V8Number::BigInt(_)) => Ok(Some(number)),
            _ => Err(wrong("a bound of the operand's kind", bound)),
        }
    };
    let (least, most) = (bound(bounds.at_least)?, bound(bounds.at_most)?);
    let is_plain = least.is_none() && most.is_none() && !bounds.clamp;
    let Some(stored) = stored else { return Ok(operand.clone()) };
    let found = match stored.value_type {
        ValueType::Int => stored.as_int().map(|number| V8Number::BigInt(BigInt::from(number))),
        ValueType::Float => stored.as_float().map(V8Number::Number),
        ValueType::V8 => Some(v8_number(stored)?),
        ValueType::U64 => {
            let counter = stored.as_u64().ok_or_else(|| wrong("u64", stored))?;
            return match &added {
                V8Number::BigInt(added) if is_plain => u64::try_from(added)
                    .map(|added| Value::u64(counter.wrapping_add(added)))
                    .map_err(|_| MutationError::CannotSum { stored: "KvU64", operand: "BigInt" }),
                _ => Err(MutationError::CannotSum { stored: "KvU64", operand: added.name() }),
            };
        }
        _ => None,
    };
    let found = found.ok_or_else(|| wrong("v8 number or bigint", stored))?;
    match (found, added) {
        (V8Number::Number(found), V8Number::Number(added)) => {
            let number = |bound: Option<V8Number>| match bound {
                Some(V8Number::Number(bound)) => Some(bound),
                _ => None,
            };
            let result = within(found + added, number(least), number(most), bounds.clamp)?;
            match stored.value_type {
                ValueType::Float if !result.is_nan() => Ok(Value::from(result)),
                _ => v8_value(V8Number::Number(result)),
            }
        }
        (V8Number::BigInt(found), V8Number::BigInt(added)) => {
            let bigint = |bound: Option<V8Number>| match bound {
                Some(V8Number::BigInt(bound)) => Some(bound),
                _ => None,
            };
            let result = within(found + added, bigint(least), bigint(most), bounds.clamp)?;
            match (stored.value_type, i64::try_from(&result)) {
                (ValueType::Int, Ok(result)) => Ok(Value::from(result)),
                _ => v8_value(V8Number::BigInt(result)),
            }
        }
        (found, added) => Err(MutationError::CannotSum { stored: found.name(), operand: added.name() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: f64) -> Value {
        Value::new(ValueType::V8, V8Number::Number(number).encode())
    }

    fn bigint(text: &str) -> Value {
        Value::new(ValueType::V8, V8Number::BigInt(text.parse().expect("digits")).encode())
    }

    #[test]
    fn sums_of_v8_are_frozen() {
        assert_eq!(sum(number(40.0), number(2.0)), Ok(number(42.0)));
        assert_eq!(sum(number(0.1), number(0.2)), Ok(number(0.1 + 0.2)));
        assert_eq!(sum(number(f64::MAX), number(f64::MAX)), Ok(number(f64::INFINITY)), "as JavaScript adds");
        assert_eq!(sum(number(f64::INFINITY), number(f64::NEG_INFINITY)), Ok(number(f64::NAN)));
        assert_eq!(sum(bigint("9223372036854775807"), bigint("1")), Ok(bigint("9223372036854775808")));
        assert_eq!(sum(bigint("5"), bigint("-8")), Ok(bigint("-3")));
        let cannot = |stored, operand| Err(MutationError::CannotSum { stored, operand });
        assert_eq!(sum(bigint("1"), number(1.0)), cannot("BigInt", "Number"));
        assert_eq!(sum(number(1.0), bigint("1")), cannot("Number", "BigInt"));
        assert_eq!(sum(Value::u64(1), number(1.0)), cannot("KvU64", "Number"));
        assert_eq!(sum(Value::u64(1), bigint("-1")), cannot("KvU64", "BigInt"));
        assert_eq!(sum(Value::u64(u64::MAX), bigint("2")), Ok(Value::u64(1)));
        assert_eq!(sum(41_i64, bigint("1")), Ok(Value::from(42_i64)));
        assert_eq!(sum(i64::MAX, bigint("1")), Ok(bigint("9223372036854775808")));
        assert_eq!(sum(1.5_f64, number(1.0)), Ok(Value::from(2.5_f64)));
        assert_eq!(sum(1.5_f64, bigint("1")), cannot("Number", "BigInt"));
        assert!(matches!(sum("text", number(1.0)), Err(MutationError::WrongType { found: "text", .. })));
        let undefined = Value::new(ValueType::V8, vec![0xff, 15, b'_']);
        assert!(matches!(sum(undefined.clone(), number(1.0)), Err(MutationError::WrongType { .. })));
        assert!(matches!(sum(number(1.0), undefined), Err(MutationError::WrongType { .. })));
    }

    #[test]
    fn bounds_of_v8_hold_for_results() {
        let (most, least) = (bigint("44"), bigint("0"));
        let refuse = Bounds { at_least: Some(&least), at_most: Some(&most), clamp: false };
        let clamp = Bounds { clamp: true, ..refuse };
        let sum = |stored: &str, operand: &str, bounds| {
            apply(NumberOp::Sum, Some(&bigint(stored)), &bigint(operand), bounds)
        };
        assert_eq!(sum("43", "1", refuse), Ok(bigint("44")));
        assert_eq!(sum("43", "2", refuse), Err(MutationError::OutOfBounds));
        assert_eq!(sum("43", "-44", refuse), Err(MutationError::OutOfBounds));
        assert_eq!(sum("43", "2", clamp), Ok(bigint("44")));
        assert_eq!(sum("43", "-44", clamp), Ok(bigint("0")));
        assert_eq!(apply(NumberOp::Sum, None, &bigint("99"), refuse), Ok(bigint("99")), "as Deno has it");
        let other = apply(NumberOp::Sum, None, &number(1.0), refuse);
        assert!(matches!(other, Err(MutationError::WrongType { .. })), "bounds of another kind");
        let counter = apply(NumberOp::Sum, Some(&Value::u64(1)), &bigint("1"), refuse);
        assert_eq!(counter, Err(MutationError::CannotSum { stored: "KvU64", operand: "BigInt" }));
    }

    fn sum(stored: impl Into<Value>, operand: impl Into<Value>) -> Result<Value, MutationError> {
        apply(NumberOp::Sum, Some(&stored.into()), &operand.into(), Bounds::default())
    }

    #[test]
    fn results_are_frozen() {
        assert_eq!(sum(40_i64, 2_i64), Ok(Value::from(42_i64)));
        assert_eq!(sum(i64::MAX, 1_i64), Err(MutationError::Overflow));
        assert_eq!(sum(0.1_f64, 0.2_f64), Ok(Value::from(0.1_f64 + 0.2_f64)));
        assert_eq!(sum(f64::MAX, f64::MAX), Err(MutationError::Overflow));
        assert_eq!(sum(Value::u64(u64::MAX), Value::u64(2)), Ok(Value::u64(1)), "KvU64 wraps");
        assert_eq!(
            apply(NumberOp::Min, None, &Value::from(3_i64), Bounds::default()),
            Ok(Value::from(3_i64))
        );
        assert!(matches!(
            sum("text", 1_i64),
            Err(MutationError::WrongType { expected: "int", found: "text" })
        ));
    }

    #[test]
    fn bounds_refuse_or_clamp() {
        let five = Value::from(5_i64);
        let refuse = Bounds { at_most: Some(&five), ..Bounds::default() };
        let clamp = Bounds { clamp: true, ..refuse };
        let (stored, operand) = (Value::from(4_i64), Value::from(9_i64));
        assert_eq!(apply(NumberOp::Sum, Some(&stored), &operand, refuse), Err(MutationError::OutOfBounds));
        assert_eq!(apply(NumberOp::Sum, Some(&stored), &operand, clamp), Ok(five.clone()));
        let clamp_type = Bounds { clamp: true, ..Bounds::default() };
        let (stored, operand) = (Value::u64(u64::MAX), Value::u64(2));
        assert_eq!(apply(NumberOp::Sum, Some(&stored), &operand, clamp_type), Ok(Value::u64(u64::MAX)));
    }
}
