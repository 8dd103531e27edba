//! Arithmetic on stored numbers. Frozen: a log is replayed with it.
//!
//! `int` and `float` refuse overflow unless told to clamp; `u64` wraps on a plain sum, as Deno's `KvU64` does.

use crate::commit::NumberOp;
use crate::error::MutationError;
use crate::value::{Value, ValueType};

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

#[cfg(test)]
mod tests {
    use super::*;

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
