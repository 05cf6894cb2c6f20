// Boost.Asio and Beast, with the names that the server uses for them.
#pragma once

#include <utility>  // before Asio: its coroutine header of Boost 1.74 uses std::exchange without it

#include <boost/asio.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

namespace facet::server {

namespace net = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = net::ip::tcp;
using boost::system::error_code;

}  // namespace facet::server
