// A servlet container, Jetty: what is mapped to a path. java --class-path … Servlets.java RESOURCE...
import java.io.IOException;
import javax.servlet.http.HttpServlet;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletResponse;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.servlet.ServletContextHandler;
import org.eclipse.jetty.servlet.ServletHolder;

public class Servlets {
    public static void main(String[] resources) throws Exception {
        Server server = new Server();
        ServerConnector connector = new ServerConnector(server);
        connector.setHost("127.0.0.1");
        server.addConnector(connector);
        ServletContextHandler handler = new ServletContextHandler();
        for (String resource : resources) {
            handler.addServlet(new ServletHolder(new HttpServlet() {
                @Override
                protected void service(HttpServletRequest request, HttpServletResponse response) throws IOException {
                    response.getOutputStream().print("acted: " + resource);
                }
            }), resource);
        }
        server.setHandler(handler);
        server.start();
        System.out.println(connector.getLocalPort());
    }
}
