// A test of an application without root, without an interface and without waiting: the program of answer.cpp
// on a fake kernel and in virtual time. The fake behaves like the kernel; a suite of tests runs on both.
#include <chrono>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <tunport/testing/manual_reactor.hpp>
#include <tunport/testing/matchers.hpp>
#include <tunport/testing/memory_system.hpp>
#include <tunport/testing/packets.hpp>

#include "answer.hpp"

using testing::ElementsAre;
using tunport::matchers::from;
using tunport::matchers::is_udp;
using tunport::matchers::payload;
using tunport::matchers::to;
using tunport::packets::udp;

class AnswerTest : public testing::Test {
 protected:
  AnswerTest() {
    host_.add_udp(42, answer_);
    port_.start_listening();
    kernel_.tunnel("tun0").set_up(true);
  }

  tunport::MemorySystem kernel_;
  tunport::ManualReactor clock_;
  Answer answer_;
  tunport::Host host_{{.addresses = {"10.0.0.2"}}};
  tunport::TuntapPort port_{clock_, "tun0", host_.ip(), {.system = kernel_}};
};

TEST_F(AnswerTest, AnswersInCapitals) {
  kernel_.tunnel("tun0").inject(udp("10.0.0.1:40000", "10.0.0.2:42", "hello"));
  clock_.run_ready();
  EXPECT_THAT(kernel_.tunnel("tun0").collect_datagrams(),
              ElementsAre(is_udp(from("10.0.0.2", 42), to("10.0.0.1", 40000), payload("HELLO"))));
}

TEST_F(AnswerTest, SurvivesAnHourWithoutALink) {
  kernel_.tunnel("tun0").set_up(false);
  clock_.advance(std::chrono::hours{1});
  kernel_.tunnel("tun0").set_up(true);
  kernel_.tunnel("tun0").inject(udp("10.0.0.1:40000", "10.0.0.2:42", "still there?"));
  clock_.run_ready();
  EXPECT_THAT(kernel_.tunnel("tun0").collect_datagrams(), ElementsAre(is_udp(payload("STILL THERE?"))));
}

TEST_F(AnswerTest, HearsOfADeletedDeviceOnce) {
  int ends = 0;
  port_.on_connection_lost([&](const std::error_code& reason) {
    EXPECT_EQ(reason, tunport::Errc::device_gone);
    ++ends;
  });
  kernel_.tunnel("tun0").remove();
  clock_.run_ready();
  EXPECT_EQ(ends, 1);
}
