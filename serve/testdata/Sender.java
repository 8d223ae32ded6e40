import java.io.FileInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.ArrayList;
import java.util.concurrent.atomic.AtomicLong;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

// Sends events over one connection of HTTP/2, 20 at a time, until they are refused, and
// prints how many were acknowledged: java Sender.java URL CA-FILE.
public class Sender {
    public static void main(String[] args) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (FileInputStream in = new FileInputStream(args[1])) {
            store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_2).sslContext(context).build();
        AtomicLong acknowledged = new AtomicLong();
        ArrayList<Thread> senders = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            String account = "c" + i;
            Thread sender = new Thread(() -> send(client, URI.create(args[0]), account, acknowledged));
            sender.start();
            senders.add(sender);
        }
        for (Thread sender : senders) {
            sender.join();
        }
        System.out.println(acknowledged);
    }

    static void send(HttpClient client, URI url, String account, AtomicLong acknowledged) {
        for (int n = 1; ; n++) {
            String event = String.format("{\"client_id\":\"%s\",\"message_id\":\"%d\",\"payload\":{\"phone\":\"+70000000001\",\"text\":\"x\"}}", account, n);
            HttpRequest request = HttpRequest.newBuilder(url).header("Content-Type", "application/json").POST(HttpRequest.BodyPublishers.ofString(event)).build();
            try {
                HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
                if (answer.statusCode() != 202) {
                    return;
                }
                acknowledged.incrementAndGet();
            } catch (Exception e) {
                System.err.println(account + ": " + e);
                return;
            }
        }
    }
}
