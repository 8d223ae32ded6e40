import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;

/** Posts two events to one account and prints what came of the second: java Send.java URL. */
class Send {
    public static void main(String[] args) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        Object last = null;
        for (int id = 1; id <= 2; id++) {
            String body = "{\"client_id\":\"a\",\"message_id\":\"" + id + "\",\"type\":\"work\",\"payload\":{}}";
            HttpRequest request = HttpRequest.newBuilder(URI.create(args[0])).header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body)).build();
            try {
                last = client.send(request, BodyHandlers.ofString()).statusCode();
            } catch (java.io.IOException e) {
                last = "error";
            }
        }
        System.out.println(last);
    }
}
