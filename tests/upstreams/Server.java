// The JDK's HttpServer: a context for each resource, and the decoded path compared in it. java Server.java RESOURCE...
import com.sun.net.httpserver.HttpServer;
import java.net.InetAddress;
import java.net.InetSocketAddress;

public class Server {
    public static void main(String[] resources) throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        for (String resource : resources) {
            server.createContext(resource, exchange -> {
                boolean acts = exchange.getRequestURI().getPath().equals(resource);
                byte[] answer = (acts ? "acted: " + resource : "no").getBytes();
                exchange.sendResponseHeaders(acts ? 200 : 404, answer.length);
                exchange.getResponseBody().write(answer);
                exchange.close();
            });
        }
        server.start();
        System.out.println(server.getAddress().getPort());
    }
}
