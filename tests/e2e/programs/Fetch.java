// SPDX-License-Identifier: BSD-2-Clause
import java.net.ProxySelector;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

/** Fetch URL [PROXYHOST PROXYPORT]: prints status and body. */
public class Fetch {
	public static void main(String[] arguments) throws Exception {
		HttpClient.Builder builder = HttpClient.newBuilder();
		if (arguments.length > 2)
			builder.proxy(ProxySelector.of(
				new InetSocketAddress(arguments[1], Integer.parseInt(arguments[2]))));
		HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0])).build();
		HttpResponse<String> response =
			builder.build().send(request, HttpResponse.BodyHandlers.ofString());
		System.out.println(response.statusCode());
		System.out.println(response.body());
	}
}
