// Checks of what an error says.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <initializer_list>
#include <string>
#include <utility>

#include "base/error.h"

namespace facet::testing {

/// `action` must throw Error{code}: one line of bearable length that holds each of `parts`.
template <typename Action>
void expect_error(Action&& action, ErrorCode code, std::initializer_list<std::string> parts) {
  try {
    static_cast<void>(action());
    ADD_FAILURE() << "expected an error that says: " << ::testing::PrintToString(parts);
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(error.code(), code) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_LT(message.size(), 700U) << message;
    for (const std::string& part : parts) EXPECT_THAT(message, ::testing::HasSubstr(part));
  }
}

template <typename Action>
void expect_bad_input(Action&& action, std::initializer_list<std::string> parts) {
  expect_error(std::forward<Action>(action), ErrorCode::kBadInput, parts);
}

}  // namespace facet::testing
